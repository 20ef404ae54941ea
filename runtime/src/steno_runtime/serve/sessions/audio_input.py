"""Audio input of a live session: samples, WAV, or what a browser's MediaRecorder makes, as 16 kHz PCM.

Its first bytes say what it is: WebM, Ogg, or MP4 in fragments. Samples stay in this process; a container is decoded in
a sandbox, which a thread of its own talks to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from steno_api.failures import FailureReason
from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.errors import WorkError
from steno_runtime.media.live import Block, LiveDecoder, LiveFormat, beginning, begins_mp4, may_begin
from steno_runtime.serve.sessions.pcm_input import PcmInput

_SPARE_SECONDS = 60.0
"""Audio that a decoder takes beyond what the session may have, so that it is the session that ends."""

Pcm = AsyncGenerator[bytes]
"""Samples in blocks of at most half a minute. Read it to its end, or close the input."""


class AudioInput:
    """Takes a client's messages in order, and yields s16le mono 16 kHz.

    Attributes:
        damaged: packets of a container that could not be decoded and are missing.
    """

    def __init__(self, rate: int, *, max_seconds: float) -> None:
        """Create an input.

        Args:
            rate: samples a second, of PCM.
            max_seconds: of audio that the session may have.

        Raises:
            ApiError: `InvalidAudio`: the rate is out of range.
        """
        self.damaged = 0
        self._pcm = PcmInput(rate)
        self._head: bytes | None = b""
        """The first bytes, until they say what it is."""
        self._container: _Container | None = None
        self._max_seconds = max_seconds + _SPARE_SECONDS

    async def convert(self, message: bytes) -> Pcm:
        """Yield the samples that a message completes.

        Raises:
            ApiError: `InvalidAudio`: it is not PCM, or a container that cannot be decoded; the message says what it is.
        """
        if self._container is not None and (begins_mp4(message) or beginning(message)):  # the client records anew
            async for pcm in self._decode(self._container, None):
                yield pcm
            self._container.close()
            self._container, self._head = None, b""
        if self._head is not None:
            self._head += message
            if may_begin(self._head):
                return
            message, self._head = self._head, None
            if (kind := beginning(message)) is not None:
                self._container = _Container(kind, self._max_seconds)
        if self._container is None:
            yield self._pcm.convert(message)
            return
        async for pcm in self._decode(self._container, message):
            yield pcm

    async def flush(self) -> Pcm:
        """Yield what can be told without more; more may be converted after that.

        Raises:
            ApiError: as of `convert`.
        """
        if self._container is None:
            head = self._head or b""
            if head:  # too short for a container
                self._head = None
            yield self._pcm.convert(head) + self._pcm.flush()

    async def finish(self) -> Pcm:
        """Yield the rest; nothing follows.

        Raises:
            ApiError: as of `convert`.
        """
        pcm = self.flush() if self._container is None else self._decode(self._container, None)
        async for block in pcm:
            yield block

    def close(self) -> None:
        """Stop decoding, without waiting for that."""
        if self._container is not None:
            self._container.close()

    async def _decode(self, container: _Container, piece: bytes | None) -> Pcm:
        """Yield the samples that a piece completes, None: that its end does."""
        damaged = self.damaged - container.damaged
        try:
            async for block in container.decode(piece):
                self.damaged = damaged + container.damaged
                yield block.pcm
        except WorkError as error:
            if error.reason is FailureReason.INTERNAL:
                raise
            raise ApiError(
                ErrorCode.INVALID_AUDIO,
                f"The audio is {container.label} and cannot be decoded. {error.message} Send all that the recorder "
                "makes, in order and from its beginning.",
            ) from None


class _Container:
    """A recording, its decoder, and the thread that waits for it."""

    def __init__(self, kind: LiveFormat, max_seconds: float) -> None:
        self.label = kind.label
        self.damaged = 0
        self._kind = kind
        self._max_seconds = max_seconds
        self._thread = ThreadPoolExecutor(1, "live-audio")
        self._decoder: LiveDecoder | None = None

    async def decode(self, piece: bytes | None) -> AsyncGenerator[Block]:
        """Yield blocks; see `AudioInput._decode`."""
        loop = asyncio.get_running_loop()
        block = await loop.run_in_executor(self._thread, self._take, piece)
        while True:
            self.damaged = block.damaged
            yield block
            if not block.more:
                return
            block = await loop.run_in_executor(self._thread, self._open().decode, None)

    def close(self) -> None:
        """See `AudioInput.close`; what the thread does comes first."""
        if self._decoder is not None:
            self._decoder.stop()
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _take(self, piece: bytes | None) -> Block:
        decoder = self._open()
        return decoder.finish() if piece is None else decoder.decode(piece)

    def _open(self) -> LiveDecoder:
        if self._decoder is None:
            self._decoder = LiveDecoder(self._kind, max_seconds=self._max_seconds)
        return self._decoder

    def _close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
