"""Options that several commands share, and the validation of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

TRANSCRIPT_FORMATS = ("json", "srt", "vtt", "txt")
PAGE_FORMATS = ("json", "txt", "markdown", "pdf")

Debug = Annotated[bool, typer.Option("--debug", help="Show libraries' warnings, and a traceback on errors.")]
Translate = Annotated[bool, typer.Option("--translate", help="Write English, whatever is spoken.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Directory = Annotated[
    str, typer.Option("--output", "-o", metavar="DIR", help="Directory to write FILE.<format> into; - prints it.")
]
ModelStore = Annotated[
    Path | None,
    typer.Option(
        envvar="STENO_MODEL_STORE",
        help="Directory of models, one folder each; searched before anything is downloaded.",
        show_default="~/.cache/steno/models",
    ),
]

CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        envvar="STENO_CA_FILE",
        metavar="FILE",
        help="CA certificates (PEM) to verify a wss:// server with.",
        show_default="the system's",
        exists=True,
        dir_okay=False,
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
    """Split `a,b` and repeated options; each value is kept once, in the order given."""
    return list(dict.fromkeys(part.strip() for value in given for part in value.split(",") if part.strip()))


def formats_callback(known: tuple[str, ...]) -> Callable[[list[str]], list[str]]:
    """Return the callback that checks `--format json,srt` and repeated `--format`s against the known formats."""

    def check(given: list[str]) -> list[str]:
        formats = comma_separated(given)
        if unknown := [name for name in formats if name not in known]:
            raise typer.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(known)}")
        if not formats:
            raise typer.BadParameter(f"give at least one of {', '.join(known)}")
        return formats

    return check


def language(given: str) -> str:
    """Check a BCP 47 tag."""
    from steno_api.v1alpha1.common import LANGUAGE  # noqa: PLC0415 - not for `--help`

    if given != "auto" and not re.fullmatch(LANGUAGE, given):
        raise typer.BadParameter(f"{given!r} is not a language tag: give one such as en, ko or pt-BR, or auto")
    return given


def languages(given: list[str]) -> list[str]:
    """Split and check `en,ko` and repeated options."""
    return [language(one) for one in comma_separated(given)]


Languages = Annotated[
    list[str],
    typer.Option(
        callback=languages,
        metavar="TAG,…",
        help="With auto: the only languages that may be detected.",
        show_default="all that the model knows",
    ),
]


def require_detection(language: str | None, languages: list[str]) -> None:
    """Reject a fixed language beside the languages that may be detected."""
    if languages and language not in (None, "auto"):
        raise typer.BadParameter("--languages restricts what is detected: leave --language out, or give auto")


def require_directory_for_several(formats: list[str], output: str) -> None:
    """Reject several formats on standard output, where they could not be separated again."""
    if output == "-" and len(formats) > 1:
        raise typer.BadParameter(f"{len(formats)} formats need a directory: add --output DIR")
