"""Audio decoding through FFmpeg (PyAV): an audio track of a media file, as mono float32 at 16 kHz.

Two restrictions keep a source from making the worker fetch anything: only containers that hold media themselves are
opened, never playlists that refer to others, and only local files are read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.sniff import describe_unreadable, is_encrypted
from steno_runtime.media.tracks import Selection, Track, describe_choice, list_tracks

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from steno_runtime.media.mixdown import Mixdown

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Samples a second of every array that this module returns."""

CONTAINERS = (
    "wav,w64,mp3,mov,mp4,m4a,3gp,3g2,mj2,flac,ogg,matroska,webm,aac,ac3,eac3,aiff,amr,asf,au,avi,caf,flv,mpeg,mpegts"
)
OPTIONS = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}

MAX_JITTER_SECONDS = 0.2
"""How late a track may be against its timestamps. Longer gaps, and those of damage, become silence, so that times
remain those of the media."""

AUDIBLE_PEAK = 1e-3
"""A track that never exceeds it (-60 dB) counts as silent where there is another."""

ESTIMATED_LENGTHS = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts"})
"""Formats that may not tell their length: FFmpeg then guesses it from the first packets' bit rate."""

PLANES = 8
"""Planar frames of as many channels or more are interleaved first: PyAV counts their planes up to a null pointer, which
FFmpeg sets only after fewer."""

TOLERATED_BAD_PACKETS = 3
TOLERATED_BAD_SHARE = 0.1
CHECK_EVERY_PACKETS = 256

MAX_RATE = 4_000_000
"""Samples a second of a source: more than any recorder has. Resampling gigahertz takes gigabytes, and half a minute in
which a stop is not noticed."""


def read_audio(
    path: Path,
    *,
    check: Check,
    on_progress: Callable[[float], None] | None = None,
    on_warning: Callable[[ResultWarning], None] = lambda _: None,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    max_seconds: float | None = None,
    too_long: str | None = None,
) -> np.ndarray:
    """Decode an audio track of `path`: the one that is selected, else the default one that is not silent.

    Takes the memory of one float32 array of the result (about 230 MB an hour) and little more.

    Args:
        path: a local file: WAV, MP3, M4A, FLAC, OGG, WebM, MP4, and what else FFmpeg reads.
        check: called often; raises to stop.
        on_progress: called with the fraction decoded, if the file tells its length.
        on_warning: called with what was lost, changed or guessed.
        selection: which track and channel to read.
        max_seconds: longer audio is refused as soon as that is known, whatever its headers say, and before memory is
            allocated for it.
        too_long: the message for the user in that case; None: the limit, and to make a job.

    Returns:
        float32 samples in [-1, 1], shape `(samples,)`, 16 kHz, one channel, amplified where they are very quiet. Time 0
        is the beginning of the media.

    Raises:
        WorkError: `UnsupportedMedia`, `Encrypted`, `TooLarge` or `InvalidSpec` (no such track or channel); the message
            says what is wrong with the file.
    """
    from steno_runtime.media.level import mix_warnings, normalize

    limit = _LengthLimit(float("inf") if max_seconds is None else max_seconds, too_long)
    with _open(path) as container:
        tracks = list_tracks(container, selection)
    reader = _TrackReader(path, check, limit, on_progress, selection)
    track, samples = reader.read_audible(tracks)
    if len(tracks) > 1:
        on_warning(describe_choice(track, tracks))
    for warning in (*reader.warnings, *mix_warnings(reader.mixdown), *normalize(samples)):
        on_warning(warning)
    return samples


class _TrackReader:
    """Reads one track after the other; the warnings and the mixdown are those of the last one."""

    def __init__(
        self,
        path: Path,
        check: Check,
        limit: _LengthLimit,
        on_progress: Callable[[float], None] | None,
        selection: Selection,
    ) -> None:
        self._path = path
        self._check = check
        self._limit = limit
        self._on_progress = on_progress
        self._selection = selection
        self.warnings: list[ResultWarning] = []

    def read_audible(self, tracks: Sequence[Track]) -> tuple[Track, np.ndarray]:
        """Read the first track that can be decoded and is not silent; the first one, if none is."""
        failed: list[WorkError] = []
        silent: list[Track] = []
        for track in tracks:
            try:
                samples = self.read(track)
            except WorkError as error:
                if error.reason is not FailureReason.UNSUPPORTED_MEDIA:
                    raise
                failed.append(error)
                continue
            if self.mixdown.peak >= AUDIBLE_PEAK or len(tracks) == 1:
                return track, samples
            silent.append(track)
        if not silent:
            raise failed[0]
        return silent[0], self.read(silent[0])

    def read(self, track: Track) -> np.ndarray:
        """Decode a track from beginning to end."""
        import av

        from steno_runtime.media.mixdown import Mixdown

        self.warnings = []
        self.mixdown = Mixdown(None if self._selection.channel is None else self._selection.channel - 1)
        with _open(self._path) as container:
            stream = container.streams.audio[track.index]
            total = _duration(container, stream)
            exact = not ESTIMATED_LENGTHS & set(container.format.name.split(","))
            self._limit.refuse(total if total and exact else 0.0)
            out = _Samples(total, self._limit)
            decoder = _Decoder(container, stream, self._check, self._limit, self.mixdown)
            origin = (container.start_time or 0) / av.time_base
            bad = 0
            for start, block in decoder.blocks():
                if start is not None:
                    jitter, bad = 0.0 if decoder.bad > bad else MAX_JITTER_SECONDS, decoder.bad
                    out.pad_to(start - origin, jitter=jitter, limit=total)
                out.append(block)
                if self._on_progress is not None and total:
                    self._on_progress(min(1.0, out.seconds / total))
        decoder.check_decoded(self._path, decoded=out.length > 0)
        if out.length == 0:
            raise _unsupported(
                "The source has an audio track without a single sample: there is no audio to transcribe."
            )
        self._warn_of_damage(decoder, out, total if exact else None)
        return out.finish()

    def _warn_of_damage(self, decoder: _Decoder, out: _Samples, total: float | None) -> None:
        if decoder.bad:
            message = (
                f"{decoder.bad} of the {decoder.packets} audio packets are damaged: they were replaced by silence."
            )
            self.warnings.append(ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message=message))
        if total and out.seconds < 0.9 * total:
            log.warning("the source ends early", extra={"decoded_seconds": out.seconds, "announced_seconds": total})
            message = f"The source announces {total:.0f} s of audio and ends after {out.seconds:.0f} s: was it cut off?"
            self.warnings.append(ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message=message))


def _open(path: Path) -> InputContainer:
    import av
    from av.error import FFmpegError

    if path.stat().st_size == 0:
        raise _unsupported("The source is empty (0 bytes). Upload the recording again.")
    try:
        return av.open(str(path.absolute()), options=OPTIONS, metadata_errors="replace")
    except (FFmpegError, UnicodeError) as error:
        log.info("cannot open the source", extra={"error": str(error)})
        raise describe_unreadable(path) from error


def _duration(container: InputContainer, stream: AudioStream) -> float | None:
    import av

    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / av.time_base
    return seconds if seconds > 0 else None


@dataclass(frozen=True)
class _LengthLimit:
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


def _unsupported(message: str) -> WorkError:
    return WorkError(FailureReason.UNSUPPORTED_MEDIA, message)


class _Decoder:
    """Demuxes and decodes one track; damaged packets are skipped and counted."""

    def __init__(
        self, container: InputContainer, stream: AudioStream, check: Check, limit: _LengthLimit, mixdown: Mixdown
    ) -> None:
        self.packets = 0
        self.bad = 0
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
        raise _unsupported(
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
            try:
                yield from packet.decode()  # pyright: ignore[reportReturnType]  (an audio stream's packets)
            except FFmpegError:
                self.bad += 1

    def _resample(self, frame: av.AudioFrame) -> Iterator[np.ndarray]:
        import av
        from av.error import FFmpegError

        if frame.sample_rate > MAX_RATE:
            raise _unsupported(
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
                self._resampler = (key, av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE))
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


class _Samples:
    """One growing float32 array; grown in place, so that its memory is not allocated twice."""

    def __init__(self, expected_seconds: float | None, limit: _LengthLimit) -> None:
        import numpy as np

        self._limit = limit
        expected = int(min(expected_seconds or 60.0, 86_400.0) * SAMPLE_RATE) + SAMPLE_RATE
        self._array = np.empty(expected, dtype=np.float32)
        self.length = 0

    @property
    def seconds(self) -> float:
        return self.length / SAMPLE_RATE

    def append(self, block: np.ndarray) -> None:
        self._reserve(block.shape[0])
        self._array[self.length : self.length + block.shape[0]] = block
        self.length += block.shape[0]

    def pad_to(self, start: float, *, jitter: float, limit: float | None) -> None:
        """Append silence up to `start` seconds where more than `jitter` is missing, within `limit`."""
        gap = start - self.seconds
        if gap <= jitter or limit is None or start > limit + 1.0:
            return
        count = round(gap * SAMPLE_RATE)
        self._reserve(count)
        self._array[self.length : self.length + count] = 0.0
        self.length += count

    def finish(self) -> np.ndarray:
        self._array.resize((self.length,), refcheck=False)
        return self._array

    def _reserve(self, count: int) -> None:
        needed = self.length + count
        self._limit.refuse(needed / SAMPLE_RATE)
        if needed > self._array.shape[0]:
            self._array.resize((max(needed, self._array.shape[0] * 5 // 4),), refcheck=False)
