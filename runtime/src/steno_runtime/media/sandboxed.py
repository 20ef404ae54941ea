"""Audio decoding in a sandbox: `channels.read_recording` in a child process, whose samples come back through a pipe.

The child has the file, and no more memory than the samples and a decoder need.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from steno_api.documents.warnings import ResultWarning
from steno_runtime.errors import Check
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.media.channels import MAX_CHANNELS, Recording, read_recording
from steno_runtime.media.tracks import Selection
from steno_runtime.sandbox import MIB, Emit, Limits, ProtocolFault, Reply, SandboxedProcess, memory_budget

MODULES = (__name__, "av", "av.subtitles.stream", "numpy.ma")
"""What the sandbox imports before it forks, if it is prepared for recordings. PyAV and NumPy import the last two when
they are first used: that would take each child longer than reading a short recording."""
DECODER_MEMORY = 512 * MIB
"""For FFmpeg and its threads, and for what is done to a block at a time."""
_COPIES = 2.25
"""Times the size of the samples: channels that are split are joined in another array; one grows by a quarter."""
_BYTES_PER_SAMPLE = 4
_LONGEST = 7 * 86_400.0
"""Seconds that a recording may have where nobody sets a limit."""

_STEP_SECONDS = 120.0
"""For which the decoder may report nothing, on a slow and busy machine."""
_SCANNED_PER_SECOND = 20 * MIB
"""Of the file, which is searched for its parts before that."""
_SPEED, _CPU_SPEED = 20, 10
"""Seconds of audio decoded in a second, at least."""
_REPORT_SECONDS = 0.1
_MAX_WARNINGS = 200


def read_recording_sandboxed(
    path: Path,
    *,
    check: Check,
    on_progress: Callable[[float], None] | None = None,
    on_warning: Callable[[ResultWarning], None] = lambda _: None,
    selection: Selection = Selection(),  # noqa: B008 - frozen
    max_seconds: float | None = None,
    too_long: str | None = None,
) -> Recording:
    """Decode a recording that a stranger sent; see `channels.read_recording`.

    Args:
        path: see there.
        check: called before, and ten times a second; raises to stop.
        on_progress: see there.
        on_warning: see there; called at the end.
        selection: see there.
        max_seconds: see there.
        too_long: see there.

    Raises:
        WorkError: see there; `UnsupportedMedia` or `TooLarge` as well if FFmpeg crashes on the file, or wants more
            memory or time than it may have.
    """
    request = partial(_read, path=path, selection=selection, max_seconds=max_seconds, too_long=too_long)
    step = _STEP_SECONDS + path.stat().st_size / _SCANNED_PER_SECOND
    with SandboxedProcess("The source", _limits(path, max_seconds, step)) as process:

        def on_event(share: Any) -> None:
            if isinstance(share, float) and 0.0 <= share <= 1.0 and on_progress is not None:
                on_progress(share)

        reply = process.call(request, seconds=step, check=check, on_event=on_event)
        recording, warnings = process.checked(partial(_parse, reply))
    for warning in warnings:
        on_warning(warning)
    return recording


def _limits(path: Path, max_seconds: float | None, step: float) -> Limits:
    longest = _LONGEST if max_seconds is None else max_seconds
    gaps = 60.0 * MAX_CHANNELS  # rounding, and the silence between channels
    samples = int(longest + gaps) * SAMPLE_RATE * _BYTES_PER_SAMPLE
    return Limits(
        memory=memory_budget(DECODER_MEMORY + int(_COPIES * samples)),
        cpu_seconds=math.ceil(10 * step + longest * MAX_CHANNELS / _CPU_SPEED),
        seconds=2 * step + longest * MAX_CHANNELS / _SPEED,
        array_bytes=samples,
        readable=(str(path.absolute()),),
    )


def _read(emit: Emit, *, path: Path, selection: Selection, max_seconds: float | None, too_long: str | None) -> Reply:
    """Decode, as the child."""
    warnings: list[ResultWarning] = []
    reported = 0.0

    def on_progress(share: float) -> None:
        nonlocal reported
        now = time.monotonic()
        if now - reported >= _REPORT_SECONDS:
            reported = now
            emit(float(share))

    recording = read_recording(
        path,
        check=lambda: None,
        on_progress=on_progress,
        on_warning=warnings.append,
        selection=selection,
        max_seconds=max_seconds,
        too_long=too_long,
    )
    value = {
        "duration": recording.duration,
        "channels": recording.channels,
        "starts": recording.starts,
        "warnings": [warning.model_dump(mode="json") for warning in warnings],
    }
    return Reply(value, [recording.samples])


def _parse(reply: Reply) -> tuple[Recording, list[ResultWarning]]:
    """Return what the child says, if it can be true."""
    value = reply.value
    (samples,) = reply.arrays
    if samples.ndim != 1 or samples.dtype != np.float32 or not samples.size:
        raise ProtocolFault("no samples")
    if not (float(samples.min()) >= -1.0 and float(samples.max()) <= 1.0):  # NaN is neither
        raise ProtocolFault("samples that are none")
    length = len(samples) / SAMPLE_RATE
    channels = tuple(_whole(number) for number in value["channels"])
    starts = tuple(_within(start, length) for start in value["starts"])
    if len(channels) != len(starts) or list(starts) != sorted(starts) or len(channels) > MAX_CHANNELS:
        raise ProtocolFault("channels that cannot be")
    warnings = [ResultWarning.model_validate(warning) for warning in value["warnings"][:_MAX_WARNINGS]]
    return Recording(samples, _within(value["duration"], length), channels, starts), warnings


def _whole(number: Any) -> int:
    if type(number) is not int or not 1 <= number <= MAX_CHANNELS:
        raise ProtocolFault("a channel that cannot be")
    return number


def _within(seconds: Any, length: float) -> float:
    if not isinstance(seconds, float | int) or not 0 <= seconds <= length:
        raise ProtocolFault("a time that cannot be")
    return float(seconds)
