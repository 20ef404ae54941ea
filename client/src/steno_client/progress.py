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

STAGES: dict[Stage, tuple[str, float]] = {
    Stage.STARTING: ("starting", 1),
    Stage.FETCHING: ("reading", 2),
    Stage.LOADING_MODEL: ("loading the model", 6),
    Stage.DETECTING_SPEECH: ("finding speech", 6),
    Stage.DECODING: ("transcribing", 60),
    Stage.ALIGNING: ("aligning words", 5),
    Stage.DIARIZING: ("telling speakers apart", 20),
}
"""What each stage is called, and its share of the work: a guess that makes the bar move evenly."""


def overall(stage: Stage, fraction: float, *, diarize: bool) -> float:
    """Returns the fraction of the whole work done, in [0, 1], given the fraction of a stage."""
    shares = {each: share for each, (_, share) in STAGES.items() if diarize or each is not Stage.DIARIZING}
    if stage not in shares:
        return 1.0
    before = sum(share for each, share in shares.items() if list(shares).index(each) < list(shares).index(stage))
    return (before + shares[stage] * min(max(fraction, 0.0), 1.0)) / sum(shares.values())


@contextmanager
def shown(*, diarize: bool, quiet: bool, console: Console | None = None) -> Generator[OnProgress]:
    """Yields the callback that moves the bar; where no terminal listens, each stage is one line instead."""
    console = Console(stderr=True) if console is None else console
    if quiet:
        yield lambda _stage, _fraction, _figures: None
        return
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(STAGES[Stage.STARTING][0], total=1.0)
        done = 0.0

        def move(stage: Stage, fraction: float, _figures: Mapping[str, Any] | None) -> None:
            nonlocal done
            done = max(done, overall(stage, fraction, diarize=diarize))  # a bar that goes back is no bar
            bar.update(task, completed=done, description=STAGES.get(stage, (str(stage), 0))[0])

        yield move


def _lines(console: Console) -> OnProgress:
    last: Stage | None = None

    def line(stage: Stage, _fraction: float, _figures: Mapping[str, Any] | None) -> None:
        nonlocal last
        if stage is not last:
            console.print(STAGES.get(stage, (str(stage), 0))[0])
            last = stage

    return line
