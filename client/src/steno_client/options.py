"""Options that several commands have, and how their values are checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

TRANSCRIPT_FORMATS = ("json", "srt", "vtt", "txt")
PAGE_FORMATS = ("json", "txt", "markdown", "pdf")

Debug = Annotated[bool, typer.Option("--debug", help="Show libraries' warnings, and a traceback on errors.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Directory = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help="Where FILE.<format> is written; - prints it.")
]
ModelStore = Annotated[
    Path | None,
    typer.Option(
        envvar="STENO_MODEL_STORE",
        help="Directory of models, one folder each; tried before any download.",
        show_default="~/.cache/steno/models",
    ),
]

_PANEL = "Cluster"
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Default: the context's.", rich_help_panel=_PANEL, show_default=False),
]
Context = Annotated[
    str | None,
    typer.Option(
        "--context", help="Context of the kubeconfig.", rich_help_panel=_PANEL, show_default="the current one"
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        help="Kubeconfig to use; else $KUBECONFIG.",
        rich_help_panel=_PANEL,
        show_default="~/.kube/config",
        exists=True,
        dir_okay=False,
    ),
]
Resource = Annotated[str, typer.Argument(metavar="RESOURCE", help="NAME or KIND/NAME, such as standup or tj/standup.")]


def comma_separated(given: list[str]) -> list[str]:
    """Splits `a,b` and repeated options; each value once, in the order given."""
    return list(dict.fromkeys(part.strip() for value in given for part in value.split(",") if part.strip()))


def formats_of(known: tuple[str, ...]) -> Callable[[list[str]], list[str]]:
    """Returns the check of `--format json,srt` and repeated `--format`s against the `known` ones."""

    def check(given: list[str]) -> list[str]:
        formats = comma_separated(given)
        if unknown := [name for name in formats if name not in known]:
            raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        if not formats:
            raise typer.BadParameter(f"name at least one of {', '.join(known)}")
        return formats

    return check


def language(given: str) -> str:
    """Checks an ISO 639 code."""
    if given != "auto" and not re.fullmatch(r"[a-z]{2,3}", given):
        raise typer.BadParameter(f"{given!r} is no language code: give one such as en, ko or de, or auto")
    return given


def one_file_per_output(formats: list[str], output: str) -> None:
    """Refuses several formats on standard output, where nobody could tell them apart."""
    if output == "-" and len(formats) > 1:
        raise typer.BadParameter(f"{len(formats)} formats need a directory: add --output DIR")
