"""Channel splitting: the channels of a recording one after the other in one array, as tracks of a tape.

Between two there is silence, so that no window holds the speech of both; `stt.channels` puts the text in its place.
Every channel is decoded from the file on its own, since each has its own level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.audio import SAMPLE_RATE, TrackReader, open_container, read_audio
from steno_runtime.media.decoder import LengthLimit
from steno_runtime.media.level import mix_warnings, normalize
from steno_runtime.media.parts import find_parts
from steno_runtime.media.tracks import Selection, describe_choice, list_tracks

if TYPE_CHECKING:
    from steno_runtime.media.tracks import Track

MAX_CHANNELS = 8
"""More are no conversation, but a production: all of them take memory and time."""
GAP_SECONDS = 10.0
"""Silence between two channels: longer than any pause within a window."""


@dataclass(frozen=True)
class Recording:
    """Samples to decode.

    Attributes:
        samples: float32, 16 kHz, shape `(samples,)`.
        duration: seconds of the recording.
        channels: numbers, from 1, of the channels that are in it one after the other; empty: they are mixed.
        starts: the second at which each of them begins.
    """

    samples: np.ndarray
    duration: float
    channels: tuple[int, ...] = ()
    starts: tuple[float, ...] = ()


def read_recording(
    path: Path,
    *,
    check: Check,
    on_progress: Callable[[float], None] | None = None,
    on_warning: Callable[[ResultWarning], None] = lambda _: None,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    max_seconds: float | None = None,
    too_long: str | None = None,
) -> Recording:
    """Decode an audio track as `read_audio` does or, where the selection says so, each of its channels.

    A channel that is silent, or the same as one before, is left out with a warning.

    Args:
        path: see `read_audio`.
        check: called often; raises to stop.
        on_progress: called with the fraction decoded, if the file tells its length.
        on_warning: called with what was lost, changed or guessed.
        selection: which track, and which of its channels.
        max_seconds: of all channels together; see `read_audio`.
        too_long: see `read_audio`.

    Raises:
        WorkError: see `read_audio`; `InvalidSpec`: there are more channels than `MAX_CHANNELS`.
    """
    if not selection.split:
        samples = read_audio(
            path, check=check, on_progress=on_progress, on_warning=on_warning, selection=selection,
            max_seconds=max_seconds, too_long=too_long,
        )  # fmt: skip
        return Recording(samples, len(samples) / SAMPLE_RATE)
    parts = find_parts(path)
    with open_container(path, parts[0]) as container:
        tracks = list_tracks(container, selection)
    count = max(one.channels for one in tracks) or 1
    limit = LengthLimit(float("inf") if max_seconds is None else max_seconds / min(count, MAX_CHANNELS), too_long)

    def reader(channel: int) -> TrackReader:
        def on_share(done: float) -> None:
            if on_progress is not None:
                on_progress(min(1.0, (channel - 1 + done) / count))

        return TrackReader(
            path, parts, Selection(selection.track, channel), check=check, limit=limit, on_progress=on_share
        )

    first = reader(1)
    track, samples = first.read_audible(tracks)
    _refuse_many(track)
    if len(tracks) > 1:
        on_warning(describe_choice(track, tracks))
    for warning in (*first.warnings, *mix_warnings(first.mixdown)):
        on_warning(warning)
    if track.channels <= 1:
        on_warning(_warning("The source has a single channel: there is nothing to split."))
    kept = _Channels()
    kept.add(1, samples)
    for channel in range(2, track.channels + 1):
        kept.add(channel, reader(channel).read(track))
    for warning in kept.warnings:
        on_warning(warning)
    return _joined(kept.samples or [samples], kept.numbers or (1,))


class _Channels:
    """The channels that are worth decoding, at a level that can be recognized."""

    def __init__(self) -> None:
        self.samples: list[np.ndarray] = []
        self.warnings: list[ResultWarning] = []
        self._by_digest: dict[str, int] = {}

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(self._by_digest.values())

    def add(self, channel: int, samples: np.ndarray) -> None:
        found = normalize(samples)
        if any(one.reason is WarningReason.SILENT_TRACK for one in found):
            message = f"Channel {channel} is silent from beginning to end."
            self.warnings.append(ResultWarning(reason=WarningReason.SILENT_TRACK, message=message))
            return
        digest = hashlib.sha256(np.round(samples * 32768).astype(np.int32).tobytes()).hexdigest()
        same = self._by_digest.setdefault(digest, channel)
        if same != channel:
            message = f"Channel {channel} is the same as channel {same}: it was decoded once."
            self.warnings.append(_warning(message))
            return
        self.warnings += [one.model_copy(update={"message": f"Channel {channel}: {one.message}"}) for one in found]
        self.samples.append(samples)


def _joined(parts: list[np.ndarray], channels: tuple[int, ...]) -> Recording:
    gap = int(GAP_SECONDS * SAMPLE_RATE)
    longest = max(len(part) for part in parts)
    whole = np.zeros(sum(len(part) for part in parts) + gap * (len(parts) - 1), np.float32)
    starts: list[float] = []
    position = 0
    while parts:
        part = parts.pop(0)  # so that its memory is free as soon as it is copied
        whole[position : position + len(part)] = part
        starts.append(position / SAMPLE_RATE)
        position += len(part) + gap
    return Recording(whole, longest / SAMPLE_RATE, channels, tuple(starts))


def _refuse_many(track: Track) -> None:
    if track.channels > MAX_CHANNELS:
        message = (
            f"The source has {track.channels} channels; at most {MAX_CHANNELS} can be split. Select one by its "
            "number in audio.channels, or mix them."
        )
        raise WorkError(FailureReason.INVALID_SPEC, message)


def _warning(message: str) -> ResultWarning:
    return ResultWarning(reason=WarningReason.MANY_CHANNELS, message=message)
