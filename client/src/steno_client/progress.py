"""Progress bar on standard error: one bar for all stages together."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from steno_api.v1alpha1.job import Stage
from steno_runtime.progress import (
    OCR_WEIGHTS,
    ProgressCallback,
    ProgressMeter,
    ProgressUpdate,
    transcription_weights,
)

_LABELS = {
    Stage.STARTING: "starting",
    Stage.FETCHING: "reading",
    Stage.LOADING_MODEL: "loading the model",
    Stage.DETECTING_SPEECH: "finding speech",
    Stage.DECODING: "transcribing",
    Stage.ALIGNING: "aligning words",
    Stage.DIARIZING: "identifying speakers",
    Stage.RECOGNIZING: "reading",
}


def transcription_meter(*, diarize: bool) -> ProgressMeter:
    """Return the meter of a transcription."""
    return ProgressMeter(transcription_weights(diarize=diarize))


def recognition_meter() -> ProgressMeter:
    """Return the meter of an OCR run."""
    return ProgressMeter(OCR_WEIGHTS)


@contextmanager
def progress_bar(meter: ProgressMeter, *, quiet: bool, console: Console | None = None) -> Generator[ProgressCallback]:
    """Yield the callback that moves the bar; without a terminal, each stage is one line instead.

    Args:
        meter: the meter of the work.
        quiet: whether to show nothing.
        console: where to draw; None for standard error.
    """
    console = Console(stderr=True) if console is None else console
    if quiet:
        yield lambda _update: None
        return
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(_LABELS[Stage.STARTING], total=1.0)

        def move(update: ProgressUpdate) -> None:
            label = _label(update.stage)
            description = f"{label}: {update.message}" if update.message else label
            bar.update(task, completed=meter.advance(update), description=description)

        yield move


def _label(stage: Stage) -> str:
    return _LABELS.get(stage, str(stage))


def _lines(console: Console) -> ProgressCallback:
    last: Stage | None = None

    def line(update: ProgressUpdate) -> None:
        nonlocal last
        if update.stage is not last:
            console.print(_label(update.stage))
            last = update.stage

    return line
