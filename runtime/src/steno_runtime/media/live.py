"""Push decoding in a sandbox: a WebM, Ogg or fragmented MP4 recording becomes PCM as it arrives, in pieces.

FFmpeg pulls: in the child, its demuxer runs in a thread that waits wherever it wants to read on, and a call returns
once it waits. So all that a piece completes comes out at once, and nothing is decoded ahead of the pieces. Samples come
back in blocks of a bounded length: a small piece may hold hours of silence.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np

from steno_runtime.errors import Stopped
from steno_runtime.media.audio import CONTAINERS, MAX_JITTER_SECONDS, OPTIONS, SAMPLE_RATE
from steno_runtime.media.decoder import Decoder, LengthLimit, unsupported
from steno_runtime.media.tracks import Selection, list_tracks
from steno_runtime.sandbox import MIB, Emit, Limits, ProtocolFault, Reply, SandboxedProcess

BLOCK_SAMPLES = 30 * SAMPLE_RATE
"""Of one block, at most."""
MEMORY = 128 * MIB
"""Of a child: FFmpeg takes a few MiB for a track of Opus."""
_INDEX_BYTES = 4096
"""Of memory for a second of MP4: FFmpeg keeps an entry of each packet and each fragment, to the end."""
_STEP_SECONDS = 30.0
"""For which a call may last, on a slow and busy machine."""
_CPU_SECONDS, _SPEED = 60, 10
"""CPU time of a child, and the seconds of audio that another one decodes, at least."""
_QUEUED = 64
"""Frames that wait for the parent, each a fraction of a second."""
_UNREADABLE_BYTES = 4 * MIB
"""In which there is not one packet of audio, so that the rest will have none either."""
_HEADER_ONLY = 4096
"""Bytes of a recording that may end without any audio."""
_MISSING_SECONDS = 0.5
"""A gap between timestamps beyond which audio is missing: a recorder that leaves out silence writes more often."""
_SILENCE_SECONDS = 60.0
"""The longest gap that becomes silence, so that times remain those of the recording."""
_JUDGED_PACKETS = 50
"""After which most packets are damaged, or they are not."""
_OPTIONS = {
    "format_whitelist": CONTAINERS,
    "protocol_whitelist": "",
    "codec_whitelist": OPTIONS["codec_whitelist"],
    "probesize": "4096",  # the header says what is in it; else the first seconds would be read before any is decoded
    "analyzeduration": "0",
}


class LiveFormat(Enum):
    """A container that can be decoded from its beginning on; the value is FFmpeg's name of it."""

    WEBM = "matroska"
    OGG = "ogg"
    MP4 = "mp4"

    @property
    def label(self) -> str:
        """Its name for people."""
        return {LiveFormat.WEBM: "WebM", LiveFormat.OGG: "Ogg", LiveFormat.MP4: "MP4"}[self]


_BEGINNINGS = ((b"\x1a\x45\xdf\xa3", LiveFormat.WEBM), (b"OggS\x00", LiveFormat.OGG))
_FIRST_PAGE = 2
"""Bit of the sixth byte of an Ogg page that begins a recording."""
_MAX_HEADER_BYTES = 64 * 1024
"""Of MP4 that is made while it is sent: recorders need about one thousand. That of a whole file lists its packets."""
_PADDING = (b"free", b"skip")
"""Boxes of MP4 that may stand in its header."""


def beginning(data: bytes) -> LiveFormat | None:
    """Return the container that begins here; None: none that can be decoded so, or too few bytes are known."""
    for magic, kind in _BEGINNINGS:
        if data.startswith(magic) and len(data) > len(magic):
            return kind if kind is LiveFormat.WEBM or data[5] & _FIRST_PAGE else None
    return LiveFormat.MP4 if _in_fragments(data) else None


def may_begin(data: bytes) -> bool:
    """Return whether these may be the first bytes of such a container, of which more will tell."""
    magic = any(len(data) <= len(magic) and magic.startswith(data) for magic, _ in _BEGINNINGS)
    return magic or _in_fragments(data) is None


def begins_mp4(data: bytes) -> bool:
    """Return whether MP4 of any kind begins here."""
    return data[4:8] == b"ftyp"


def _in_fragments(data: bytes) -> bool | None:
    """Return whether MP4 in fragments begins here, whose packets are described just before they come; None: perhaps.

    Other MP4 describes all packets at once, mostly behind the last one.
    """
    if len(data) < 8:
        return None if b"\0\0\0".startswith(data[:3]) and b"ftyp".startswith(data[4:]) else False
    if not begins_mp4(data):
        return False
    at = 0
    while len(data) >= at + 8:
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if not 8 <= size <= _MAX_HEADER_BYTES - at or (at and kind not in (b"moov", *_PADDING)):
            return False
        if kind == b"moov":
            return b"mvex" in _boxes(data[at + 8 : at + size]) if len(data) >= at + size else None
        at += size
    return None


def _boxes(data: bytes) -> Iterator[bytes]:
    """Yield the kinds of the boxes of MP4 that follow each other."""
    at = 0
    while len(data) >= at + 8:
        yield data[at + 4 : at + 8]
        at += max(8, int.from_bytes(data[at : at + 4]))


@dataclass(frozen=True)
class Block:
    """What a step of decoding returned.

    Attributes:
        pcm: signed 16-bit little-endian samples, mono, 16 kHz.
        more: the piece has more samples: take another step with no piece.
        damaged: places where a packet could not be decoded or packets are missing, since the beginning.
    """

    pcm: bytes
    more: bool
    damaged: int


class LiveDecoder:
    """One recording, decoded by a child process while it arrives. Its methods block, but for `stop`.

    Attributes:
        damaged: of the last block.
    """

    def __init__(self, kind: LiveFormat, *, max_seconds: float) -> None:
        """Start the child.

        Args:
            kind: what the recording is.
            max_seconds: of audio; more is an error.

        Raises:
            WorkError: `Internal`: it cannot be started.
        """
        self._stopped = threading.Event()
        self.damaged = 0
        limits = Limits(
            memory=MEMORY + (math.ceil(max_seconds) * _INDEX_BYTES if kind is LiveFormat.MP4 else 0),
            cpu_seconds=_CPU_SECONDS + math.ceil(max_seconds / _SPEED),
            seconds=2 * (_CPU_SECONDS + max_seconds / _SPEED),
            array_bytes=4 * BLOCK_SAMPLES,
        )
        self._process = SandboxedProcess("The audio", limits)
        try:
            self._call(partial(_open, kind=kind.value, max_seconds=max_seconds))
        except BaseException:
            self._process.close()
            raise

    def decode(self, piece: bytes | None) -> Block:
        """Take the next piece; None: return more of what the last one completed.

        Raises:
            WorkError: `UnsupportedMedia` or `TooLarge`: it cannot be decoded, and neither can what follows.
            Stopped: it is being closed.
        """
        if piece == b"":
            return Block(b"", more=False, damaged=self.damaged)
        return self._step(partial(_decode, piece=piece))

    def finish(self) -> Block:
        """Say that no piece follows, and return the rest; if that is not all, take another step with no piece.

        Raises:
            WorkError: `UnsupportedMedia`: not even its beginning could be read.
            Stopped: it is being closed.
        """
        return self._step(partial(_decode, piece=b""))

    def stop(self) -> None:
        """Have a step that is under way in another thread, and those that follow, raise `Stopped`."""
        self._stopped.set()

    def close(self) -> None:
        """End the child; no step may be under way."""
        self._process.close()

    def _step(self, request: Callable[[Emit], Reply]) -> Block:
        reply = self._call(request)
        block = self._process.checked(partial(_parse, reply))
        self.damaged = block.damaged
        return block

    def _call(self, request: Callable[[Emit], Reply]) -> Reply:
        self._check()
        return self._process.call(request, seconds=_STEP_SECONDS, check=self._check)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise Stopped


def _parse(reply: Reply) -> Block:
    """Return what the child says, if it can be true."""
    (samples,) = reply.arrays
    more, damaged = reply.value["more"], reply.value["damaged"]
    if samples.ndim != 1 or samples.dtype != np.float32 or not np.isfinite(samples).all():
        raise ProtocolFault("samples that are none")
    if type(more) is not bool or type(damaged) is not int or damaged < 0:
        raise ProtocolFault("a block that cannot be")
    pcm = np.clip(samples * np.float32(32768), -32768, 32767).astype("<i2").tobytes()
    return Block(pcm, more, damaged)


# What follows runs in the child.

_demuxers: list[_Demuxer] = []
"""The recording of this process, which has a single one."""


def _open(_emit: Emit, *, kind: str, max_seconds: float) -> Reply:
    _demuxers.append(_Demuxer(kind, max_seconds))
    return Reply()


def _decode(_emit: Emit, *, piece: bytes | None) -> Reply:
    samples, more = _demuxers[0].step(piece)
    return Reply({"more": more, "damaged": _demuxers[0].damaged}, [samples])


class _Demuxer:
    """FFmpeg in a thread: pieces go in, blocks come out, and either side waits for the other."""

    def __init__(self, kind: str, max_seconds: float) -> None:
        self._kind = kind
        self._limit = LengthLimit(max_seconds, "The audio is longer than the session may be.")
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._blocks: queue.Queue[np.ndarray | BaseException | None] = queue.Queue(_QUEUED)
        """None: another piece is needed, or that was all."""
        self._held: list[np.ndarray] = []
        self._waiting = False
        self._unread = b""
        self._ended = False
        self._decoder: Decoder | None = None
        self._packets = self._bytes_since_packet = 0
        self._gaps = self._samples = self._received = 0
        self._origin: float | None = None
        """The timestamp of the first sample."""
        threading.Thread(target=self._run, daemon=True).start()
        self._blocks.get()  # it waits for its first piece

    @property
    def damaged(self) -> int:
        return self._gaps + (0 if self._decoder is None else self._decoder.bad)

    def step(self, piece: bytes | None) -> tuple[np.ndarray, bool]:
        """Return a block, and whether there is more."""
        if piece is not None:
            self._waiting = False
            self._pieces.put(piece)
        length = sum(map(len, self._held))
        while length <= BLOCK_SAMPLES and not self._waiting:
            block = self._blocks.get()
            if isinstance(block, BaseException):
                raise block
            self._waiting = block is None
            if block is not None:
                self._held.append(block)
                length += len(block)
        samples = np.concatenate([np.empty(0, np.float32), *self._held])
        self._held = [samples[BLOCK_SAMPLES:]]
        return samples[:BLOCK_SAMPLES], length > BLOCK_SAMPLES

    def read(self, size: int) -> bytes:
        """Wait for a piece, as the file that FFmpeg reads."""
        while not self._unread and not self._ended:
            self._blocks.put(None)
            self._unread = self._pieces.get()
            self._ended = not self._unread
            self._received += len(self._unread)
            self._check_progress()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def _check_progress(self) -> None:
        """Raise `WorkError` if nothing can come of what follows: FFmpeg would look for a packet to the end."""
        packets = 0 if self._decoder is None else self._decoder.packets
        if packets > self._packets:
            self._packets, self._bytes_since_packet = packets, 0
        self._bytes_since_packet += len(self._unread)
        damaged = self._decoder is not None and packets >= _JUDGED_PACKETS and self._decoder.bad > packets / 2
        if damaged or self._bytes_since_packet > _UNREADABLE_BYTES:
            raise unsupported("It is damaged: most of what arrived is no audio.")

    def _run(self) -> None:
        try:
            self._decode_all()
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            self._blocks.put(error)
        else:
            self._blocks.put(None)

    def _decode_all(self) -> None:
        import av
        from av.error import FFmpegError

        from steno_runtime.media.mixdown import Mixdown

        try:
            container = av.open(self, "r", format=self._kind, options=_OPTIONS, metadata_errors="replace")
        except FFmpegError as error:
            raise unsupported("It is damaged at its beginning, or that is missing.") from error
        with container:
            stream = container.streams.audio[list_tracks(container, Selection())[0].index]
            self._decoder = Decoder(
                container, stream, Mixdown(), rate=SAMPLE_RATE, check=lambda: None, limit=self._limit
            )
            for start, block in self._decoder.blocks():
                if start is not None:
                    self._fill_gap(start)
                self._put(block)
        if not self._samples and self._received > _HEADER_ONLY:
            raise unsupported("It is damaged: there is no audio in it.")
        if not self._ended:
            raise unsupported("It breaks off: what follows cannot be read.")

    def _fill_gap(self, start: float) -> None:
        """Put silence up to a timestamp."""
        gap = 0.0 if self._origin is None else start - self._origin - self._samples / SAMPLE_RATE
        if gap > _MISSING_SECONDS:
            self._gaps += 1
        if MAX_JITTER_SECONDS < gap <= _SILENCE_SECONDS:
            self._put(np.zeros(round(gap * SAMPLE_RATE), np.float32))
        elif self._origin is None or abs(gap) > MAX_JITTER_SECONDS:  # a jump, or times that begin anew
            self._origin = start - self._samples / SAMPLE_RATE

    def _put(self, block: np.ndarray) -> None:
        self._samples += len(block)
        self._blocks.put(block)
