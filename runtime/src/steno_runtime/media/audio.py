"""Audio decoding through FFmpeg (PyAV): an audio track of a media file, as mono float32 at 16 kHz.

Two restrictions keep a source from making the worker fetch anything: only containers that hold media themselves are
opened, never playlists that refer to others, and only local files are read. A third keeps what it can attack small: of
FFmpeg's decoders, only those of recordings are opened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.decoder import Decoder, LengthLimit, unsupported
from steno_runtime.media.parts import Part, PartFile, find_parts, unread_bytes
from steno_runtime.media.sniff import describe_unreadable
from steno_runtime.media.tracks import CODECS, Selection, Track, describe_choice, list_tracks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from av.audio.stream import AudioStream
    from av.container import InputContainer

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
"""Samples a second of every array that this module returns."""

CONTAINERS = (
    "wav,w64,mp3,mov,mp4,m4a,3gp,3g2,mj2,flac,ogg,matroska,webm,aac,ac3,eac3,aiff,amr,asf,au,avi,caf,flv,mpeg,mpegts"
)
OPTIONS = {
    "format_whitelist": CONTAINERS,
    "protocol_whitelist": "file",
    "codec_whitelist": ",".join(sorted(CODECS)),  # to probe, which would open those of pictures and subtitles, too
}

MAX_JITTER_SECONDS = 0.2
"""How late a track may be against its timestamps. Longer gaps, and those of damage, become silence, so that times
remain those of the media."""
MAX_GAP_SECONDS = 3600.0
"""Longest gap that becomes silence in a source that does not tell its length; longer ones are damaged timestamps."""

AUDIBLE_PEAK = 1e-3
"""A track that never exceeds it (-60 dB) counts as silent where there is another."""

ESTIMATED_LENGTHS = frozenset({"mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts"})
"""Formats that may not tell their length: FFmpeg then guesses it from the first packets' bit rate."""


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

    Takes the memory of one float32 array of the result (about 230 MB an hour) and little more. Recordings that were
    joined to one file are read one after the other.

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

    limit = LengthLimit(float("inf") if max_seconds is None else max_seconds, too_long)
    parts = find_parts(path)
    with open_container(path, parts[0]) as container:
        tracks = list_tracks(container, selection)
    reader = TrackReader(path, parts, selection, check=check, limit=limit, on_progress=on_progress)
    track, samples = reader.read_audible(tracks)
    if len(tracks) > 1:
        on_warning(describe_choice(track, tracks))
    for warning in (*reader.warnings, *mix_warnings(reader.mixdown), *normalize(samples)):
        on_warning(warning)
    return samples


class TrackReader:
    """Reads one track after the other; the warnings and the mixdown are those of the last one."""

    def __init__(
        self,
        path: Path,
        parts: Sequence[Part],
        selection: Selection,
        *,
        check: Check,
        limit: LengthLimit,
        on_progress: Callable[[float], None] | None,
    ) -> None:
        self._path = path
        self._parts = parts
        self._check = check
        self._limit = limit
        self._on_progress = on_progress
        self._selection = selection
        self.warnings: list[ResultWarning] = []

    def read_audible(self, tracks: Sequence[Track]) -> tuple[Track, np.ndarray]:
        """Read the first track that can be decoded and is not silent; the loudest one, if all of them are."""
        failed: list[WorkError] = []
        silent: dict[Track, float] = {}
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
            silent[track] = self.mixdown.peak
        if not silent:
            raise failed[0]
        loudest = max(silent, key=lambda track: silent[track])
        return loudest, self.read(loudest)

    def read(self, track: Track) -> np.ndarray:
        """Decode a track from beginning to end."""
        from steno_runtime.media.mixdown import Mixdown

        self.warnings = []
        self._share = 0.0
        self.mixdown = Mixdown(None if self._selection.channel is None else self._selection.channel - 1)
        out = _Samples(self._limit)
        for number, part in enumerate(self._parts, 1):
            try:
                self._read_part(track, part, out)
            except WorkError as error:
                if number == 1 or error.reason is not FailureReason.UNSUPPORTED_MEDIA:
                    raise
                log.info("a part of the source cannot be read", extra={"part": number, "why": error.message})
                self._warn(
                    f"The source is {len(self._parts)} recordings joined to one file, and number {number} cannot be"
                    " read: send it on its own."
                )
        if out.length == 0:
            raise unsupported("The source has an audio track without a single sample: there is no audio to transcribe.")
        self._warn_of_surroundings()
        if self._on_progress is not None:
            self._on_progress(1.0)
        return out.finish()

    def _read_part(self, track: Track, part: Part, out: _Samples) -> None:
        """Append one of the recordings that the file consists of."""
        begin = out.seconds
        with open_container(self._path, part) as container:
            streams = container.streams.audio
            if not streams:
                raise unsupported("This part of the source has no audio track.")
            stream = streams[min(track.index, len(streams) - 1)]
            total = _duration(container, stream)
            exact = not ESTIMATED_LENGTHS & set(container.format.name.split(","))
            self._limit.refuse(begin + total if total and exact else 0.0)
            out.expect(total or 60.0)
            timeline = _Timeline(container, stream, out)
            decoder = Decoder(container, stream, self.mixdown, rate=SAMPLE_RATE, check=self._check, limit=self._limit)
            bad = 0
            for start, block in decoder.blocks():
                if start is not None:
                    jitter, bad = 0.0 if decoder.bad > bad else MAX_JITTER_SECONDS, decoder.bad
                    timeline.advance(start, jitter)
                out.append(block)
                self._report(part, decoder.position, (out.seconds - begin) / total if total else None)
        length = out.seconds - begin
        decoder.check_decoded(self._path, decoded=length > 0)
        self._warn_of_damage(decoder, timeline, length, total if exact else None)

    def _report(self, part: Part, position: int, by_time: float | None) -> None:
        """Report progress: by time, but not more than by bytes, which count what a header does not know of."""
        if self._on_progress is None:
            return
        by_bytes = (part.start + position) / self._parts[-1].end
        alone = len(self._parts) == 1
        share = by_bytes if by_time is None or not alone else min(by_time, by_bytes if position else 1.0)
        self._share = max(self._share, min(1.0, share))
        self._on_progress(self._share)

    def _warn_of_damage(self, decoder: Decoder, timeline: _Timeline, length: float, total: float | None) -> None:
        if decoder.bad:
            self._warn(
                f"{decoder.bad} of the {decoder.packets} audio packets are damaged: they were replaced by silence."
            )
        if timeline.skipped is not None:
            self._warn(
                f"The timestamps jump by {timeline.skipped:.0f} s, which is more than the source lasts: the audio after"
                " it follows at once."
            )
        if total and length < 0.9 * total:
            log.warning("the source ends early", extra={"decoded_seconds": length, "announced_seconds": total})
            self._warn(f"The source announces {total:.0f} s of audio and ends after {length:.0f} s: was it cut off?")

    def _warn_of_surroundings(self) -> None:
        if before := self._parts[0].start:
            self._warn(f"The source begins with {before} bytes that are no recording: they were passed over.")
        if after := unread_bytes(self._path, self._parts[-1]):
            self._warn(
                f"The file goes on for {after} bytes after the end that its header announces: they were not read."
                " Export the recording again, or repair the header."
            )

    def _warn(self, message: str) -> None:
        self.warnings.append(ResultWarning(reason=WarningReason.DAMAGED_SOURCE, message=message))


@contextmanager
def open_container(path: Path, part: Part) -> Iterator[InputContainer]:
    """Open one of the recordings that a file consists of."""
    import av
    from av.error import FFmpegError

    if part.end == 0:
        raise unsupported("The source is empty (0 bytes). Upload the recording again.")
    with ExitStack() as stack:
        try:
            whole = part == Part(0, path.stat().st_size)
            source = str(path.absolute()) if whole else stack.enter_context(PartFile(path, part))
            container = stack.enter_context(av.open(source, "r", options=OPTIONS, metadata_errors="replace"))
        except (FFmpegError, UnicodeError) as error:
            log.info("cannot open the source", extra={"error": str(error)})
            raise describe_unreadable(path) from error
        yield container


def _duration(container: InputContainer, stream: AudioStream) -> float | None:
    import av

    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / av.time_base
    return seconds if seconds > 0 else None


class _Timeline:
    """Keeps the samples at the times of the media: what is missing becomes silence.

    Attributes:
        skipped: seconds of a gap that is no silence but damage, since it ends after the media; None: there is none.
    """

    def __init__(self, container: InputContainer, stream: AudioStream, out: _Samples) -> None:
        import av

        self.skipped: float | None = None
        self._out = out
        self._origin = (container.start_time or 0) / av.time_base
        self._offset = out.seconds - self._origin
        ends = [(container.duration or 0) / av.time_base]
        if stream.duration and stream.time_base:
            ends.append(float(((stream.start_time or 0) + stream.duration) * stream.time_base) - self._origin)
        self._end = max(ends) + out.seconds if max(ends) > 0 else None

    def advance(self, start: float, jitter: float) -> None:
        """Append silence up to a timestamp where more than `jitter` seconds are missing."""
        gap = self._offset + start - self._out.seconds
        if gap < -1.0 and start - self._origin < 1.0:  # another recording begins, whose times begin anew
            self._offset -= gap
            self._end = None
        if gap <= jitter:
            return
        if gap <= MAX_GAP_SECONDS if self._end is None else self._offset + start <= self._end + 1.0:
            self._out.append_silence(gap)
        else:
            self.skipped = gap
            self._offset -= gap


class _Samples:
    """One growing float32 array; grown in place, so that its memory is not allocated twice."""

    def __init__(self, limit: LengthLimit) -> None:
        import numpy as np

        self._limit = limit
        self._array = np.empty(0, dtype=np.float32)
        self.length = 0

    @property
    def seconds(self) -> float:
        return self.length / SAMPLE_RATE

    def expect(self, seconds: float) -> None:
        """Set aside room for that much, if nothing is there yet; the pages are not touched before they are used."""
        import numpy as np

        if not self.length:
            self._array = np.empty(int(min(seconds, 86_400.0) * SAMPLE_RATE) + SAMPLE_RATE, dtype=np.float32)

    def append(self, block: np.ndarray) -> None:
        self._reserve(block.shape[0])
        self._array[self.length : self.length + block.shape[0]] = block
        self.length += block.shape[0]

    def append_silence(self, seconds: float) -> None:
        count = round(seconds * SAMPLE_RATE)
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
