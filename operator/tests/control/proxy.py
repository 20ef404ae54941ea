"""A TCP proxy in front of the API server, to be the bad network."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.apiserver import ApiServer


class Proxy:
    """Forwards bytes, unless `frozen`; `cut` closes what is open, `shut` refuses what is new."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self._target = urlsplit(server.url)
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.shut = False
        self.opened = 0
        self.kubeconfig = folder / "kubeconfig-proxy"
        self._original = server.kubeconfig.read_text()

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Proxy]:
        listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        config = json.loads(self._original)
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        self.kubeconfig.write_text(json.dumps(config))
        try:
            yield self
        finally:
            listener.close()
            self._flowing.set()
            self.cut()

    def freeze(self, frozen: bool) -> None:
        """From now on connections stay open and nothing comes through any more, or does again."""
        if frozen:
            self._flowing.clear()
        else:
            self._flowing.set()

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.shut:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._writers |= {writer, up_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        for each in (writer, up_writer):
            self._writers.discard(each)
            each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof() if writer.can_write_eof() else writer.close()
