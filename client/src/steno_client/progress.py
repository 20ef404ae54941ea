"""The progress bar: one for the whole work, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from steno_api.report import Stage

OnProgress = Callable[[Stage, float, Mapping[str, Any] | None], None]
"""Called with the stage, the fraction of it that is done (0 to 1), and figures for people, if any."""

Stages = Mapping[Stage, tuple[str, float]]
"""What each stage is called, and its share of the work: a guess that makes the bar move evenly."""

_SPEECH: Stages = {
    Stage.STARTING: ("starting", 1),
    Stage.FETCHING: ("reading", 2),
    Stage.LOADING_MODEL: ("loading the model", 6),
    Stage.DETECTING_SPEECH: ("finding speech", 6),
    Stage.DECODING: ("transcribing", 60),
    Stage.ALIGNING: ("aligning words", 5),
}
_SPEAKERS: Stages = {Stage.DIARIZING: ("telling speakers apart", 20)}

OCR: Stages = {
    Stage.STARTING: ("starting", 1),
    Stage.RECOGNIZING: ("reading", 99),
}


def speech(*, diarize: bool) -> Stages:
    """Returns the stages of a transcription."""
    return {**_SPEECH, **_SPEAKERS} if diarize else _SPEECH


def overall(stages: Stages, stage: Stage, fraction: float) -> float:
    """Returns the fraction of the whole work done, in [0, 1], given the fraction of a stage."""
    if stage not in stages:
        return 1.0
    order = list(stages)
    before = sum(stages[each][1] for each in order[: order.index(stage)])
    share = stages[stage][1] * min(max(fraction, 0.0), 1.0)
    return (before + share) / sum(weight for _, weight in stages.values())


@contextmanager
def shown(stages: Stages, *, quiet: bool, console: Console | None = None) -> Generator[OnProgress]:
    """Yields the callback that moves the bar; where no terminal listens, each stage is one line instead."""
    console = Console(stderr=True) if console is None else console
    if quiet:
        yield lambda _stage, _fraction, _figures: None
        return
    if not console.is_terminal:
        yield _lines(stages, console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(stages[Stage.STARTING][0], total=1.0)
        done = 0.0

        def move(stage: Stage, fraction: float, figures: Mapping[str, Any] | None) -> None:
            nonlocal done
            done = max(done, overall(stages, stage, fraction))  # a bar that goes back is no bar
            bar.update(task, completed=done, description=_described(stages, stage, figures))

        yield move


def _described(stages: Stages, stage: Stage, figures: Mapping[str, Any] | None) -> str:
    name = stages[stage][0] if stage in stages else str(stage)
    message = (figures or {}).get("message")
    return f"{name}: {message}" if message else name


def _lines(stages: Stages, console: Console) -> OnProgress:
    last: Stage | None = None

    def line(stage: Stage, _fraction: float, _figures: Mapping[str, Any] | None) -> None:
        nonlocal last
        if stage is not last:
            console.print(_described(stages, stage, None))
            last = stage

    return line
