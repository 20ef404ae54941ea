"""Packet decoding of one track through FFmpeg (PyAV): damage is counted, channels are mixed, the rate is converted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.sniff import is_encrypted

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from steno_runtime.media.mixdown import Mixdown

log = logging.getLogger(__name__)

PLANES = 8
"""Planar frames of as many channels or more are interleaved first: PyAV counts their planes up to a null pointer, which
FFmpeg sets only after fewer."""

TOLERATED_BAD_PACKETS = 3
TOLERATED_BAD_SHARE = 0.1
CHECK_EVERY_PACKETS = 256

MAX_RATE = 4_000_000
"""Samples a second of a source: more than any recorder has. Resampling gigahertz takes gigabytes, and half a minute in
which a stop is not noticed."""


@dataclass(frozen=True)
class LengthLimit:
    """The limit on the length of the audio."""

    seconds: float
    message: str | None

    def refuse(self, seconds: float) -> None:
        """Raise `WorkError` if that is too long."""
        if seconds > self.seconds:
            raise WorkError(
                FailureReason.TOO_LARGE,
                self.message
                or f"The audio is longer than the {self.seconds / 60:g} minutes allowed here. Split it, or make a "
                "TranscriptionJob.",
            )


def unsupported(message: str) -> WorkError:
    """Return the error of a source that cannot be decoded."""
    return WorkError(FailureReason.UNSUPPORTED_MEDIA, message)


class Decoder:
    """Demuxes and decodes one track; damaged packets are skipped and counted.

    Attributes:
        packets: that were read.
        bad: of these, damaged.
        position: of the last one, in bytes from the beginning of the container.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        mixdown: Mixdown,
        *,
        rate: int,
        check: Check,
        limit: LengthLimit,
    ) -> None:
        self.packets = 0
        self.bad = 0
        self.position = 0
        self._rate = rate
        self._limit = limit
        self._seconds = 0.0
        self._container = container
        self._stream = stream
        self._check = check
        self._mixdown = mixdown
        self._resampler: tuple[tuple[str, int], av.AudioResampler] | None = None

    def blocks(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """Yield `(start, samples)`; `start` is the timestamp in seconds, None where there is none."""
        for frame in self._frames():
            start = float(frame.pts * frame.time_base) if frame.pts is not None and frame.time_base else None
            for block in self._resample(frame):
                yield start, block
                start = None
        yield from ((None, block) for block in self._flush())

    def check_decoded(self, path: Path, *, decoded: bool) -> None:
        """Raise `WorkError` if more of the track was damaged than a listener would forgive."""
        if self.bad == 0:
            return
        if decoded and self.bad <= max(TOLERATED_BAD_PACKETS, TOLERATED_BAD_SHARE * self.packets):
            log.warning("passed over damaged packets", extra={"bad_packets": self.bad, "packets": self.packets})
            return
        if is_encrypted(path):
            raise WorkError(
                FailureReason.ENCRYPTED,
                "The source is protected by DRM or encryption and cannot be decoded. Export an unprotected copy.",
            )
        raise unsupported(
            f"The source is damaged: {self.bad} of its {self.packets} audio packets cannot be decoded. "
            "Export or upload the recording again."
        )

    def _frames(self) -> Iterator[av.AudioFrame]:
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            if self.packets % CHECK_EVERY_PACKETS == 0:
                self._check()
            try:
                packet = next(packets, None)
            except FFmpegError as error:  # the container itself breaks off here; what came before still counts
                log.warning("the source breaks off", extra={"error": str(error)})
                self.bad += 1
                return
            if packet is None:
                return
            self.packets += 1
            self.position = max(self.position, packet.pos or 0)
            try:
                yield from packet.decode()  # pyright: ignore[reportReturnType]  (an audio stream's packets)
            except FFmpegError:
                self.bad += 1

    def _resample(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        import av
        from av.error import FFmpegError

        if frame.sample_rate > MAX_RATE:
            raise unsupported(
                f"The source is damaged: it announces {frame.sample_rate} samples a second. Export or upload it again."
            )
        # A frame of a very low rate grows ten-thousandfold, and becomes one block whatever its length.
        self._seconds += frame.samples / max(1, frame.sample_rate)
        self._limit.refuse(self._seconds)
        try:
            mono = frame if frame.layout.nb_channels == 1 else self._mixed(frame)
            key = (mono.format.name, mono.sample_rate)
            if self._resampler is None or self._resampler[0] != key:  # a track may change its format on the way
                yield from self._flush()
                self._resampler = (key, av.AudioResampler(format="flt", layout="mono", rate=self._rate))
            mono.pts = None  # the resampler only converts; gaps are filled by timestamps outside
            converted = self._resampler[1].resample(mono)
        except (FFmpegError, ValueError, IndexError):  # damage can also decode to a frame of a format that cannot be
            self.bad += 1
            self._resampler = None
            return
        for block in converted:
            yield self._samples(block, mixed=mono is not frame)

    def _mixed(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Return a frame of one channel."""
        import av

        from steno_runtime.media.mixdown import to_float

        if frame.format.is_planar and frame.layout.nb_channels >= PLANES:
            frame = self._packed(frame)
        channels = to_float(frame.to_ndarray(), frame.layout.nb_channels, planar=frame.format.is_planar)
        mono = av.AudioFrame.from_ndarray(self._mixdown.mix(channels).reshape(1, -1), format="flt", layout="mono")
        mono.sample_rate = frame.sample_rate
        return mono

    def _packed(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Return the frame with its channels interleaved."""
        import av

        frame.pts = None
        packer = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
        packed = packer.resample(frame) or packer.resample(None)
        return packed[0]

    def _samples(self, block: av.AudioFrame, *, mixed: bool) -> np.ndarray:
        samples = block.to_ndarray()
        return samples[0] if mixed else self._mixdown.mix(samples)

    def _flush(self) -> Iterator[np.ndarray]:
        if self._resampler is None:
            return
        _, resampler = self._resampler
        self._resampler = None
        for converted in resampler.resample(None):
            yield self._samples(converted, mixed=False)
