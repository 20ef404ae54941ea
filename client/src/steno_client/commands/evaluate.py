"""`steno evaluate`: error rates and speed on recordings and pages whose text is known."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from steno_client import options
from steno_client.commands.stream import wait_for_session
from steno_client.errors import EXIT_FAILED, EXIT_INPUT, CommandError, report_errors

if TYPE_CHECKING:
    from steno_client.evaluation.manifest import Filter, Half, Item
    from steno_client.evaluation.recognisers import Recogniser, RecogniserOptions
    from steno_client.evaluation.report import Report
    from steno_client.evaluation.summary import Outcome

app = typer.Typer()

CORPUS = "STENO_CORPUS"
_WHERE, _WHAT, _RESULT = "Who recognises", "What is evaluated", "Result"


@dataclass(frozen=True)
class _Place:
    """Where items are recognised, as the command line says."""

    local: bool
    results: Path | None
    session: str | None
    url: str | None
    token: str | None
    token_file: Path | None
    ca_file: Path | None
    namespace: str | None
    context: str | None
    kubeconfig: Path | None

    def check(self) -> None:
        """Require exactly one place."""
        places = [self.local, self.results is not None, self.session is not None or self.url is not None]
        if sum(places) != 1:
            raise typer.BadParameter(
                "say who recognises: --local, --session NAME (or --url with a token), or --results DIR"
            )


@dataclass(frozen=True)
class _Pipelines:
    """Options of the pipelines on this machine."""

    model: str
    model_store: Path | None
    device: Literal["auto", "cuda", "cpu"]
    engine: Literal["auto", "tesseract", "rapidocr", "paddleocr"]
    mode: Literal["skip", "redo", "force"]


@app.command()
def evaluate(
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="[MANIFEST]…",
            help=f"JSON Lines with recordings and pages, and their texts; by default those of ${CORPUS}.",
            show_default=False,
        ),
    ] = [],  # noqa: B006 - typer copies it
    *,
    local: Annotated[
        bool, typer.Option("--local", help="The pipelines on this machine.", rich_help_panel=_WHERE)
    ] = False,
    session: Annotated[
        str | None,
        typer.Option("--session", "-s", help="The server of a StreamSession.", rich_help_panel=_WHERE),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="URL of the server; overrides the endpoint of --session.", rich_help_panel=_WHERE),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="File with the session's token.", rich_help_panel=_WHERE),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="STENO_TOKEN", show_envvar=True, help="The token.", rich_help_panel=_WHERE),
    ] = None,
    ca_file: options.CaFile = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="No recogniser: score the documents ID.json, ID/transcript.json or ID/pages.json in DIR.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Speech model of --local, as in `steno transcribe`.", rich_help_panel=_WHERE)
    ] = "large-v3",
    model_store: options.ModelStore = None,
    device: Annotated[
        Literal["auto", "cuda", "cpu"], typer.Option(help="Device of --local.", rich_help_panel=_WHERE)
    ] = "auto",
    engine: Annotated[
        Literal["auto", "tesseract", "rapidocr", "paddleocr"],
        typer.Option(help="OCR engine of --local.", rich_help_panel=_WHERE),
    ] = "auto",
    mode: Annotated[
        Literal["skip", "redo", "force"],
        typer.Option(help="PDF pages with text, with --local, as in `steno ocr`.", rich_help_panel=_WHERE),
    ] = "skip",
    language: Annotated[
        Literal["given", "auto"],
        typer.Option(help="Languages: given from the manifest, or detected.", rich_help_panel=_WHAT),
    ] = "given",
    diarize: Annotated[
        bool, typer.Option(help="Identify speakers where the manifest says who speaks.", rich_help_panel=_WHAT)
    ] = True,
    only: Annotated[
        list[str],
        typer.Option(
            "--only",
            metavar="KEY=PATTERN",
            help="Items whose id, medium, language, kind or condition matches, such as kind=scan*.",
            rich_help_panel=_WHAT,
        ),
    ] = [],  # noqa: B006 - typer copies it
    half: Annotated[
        Literal["even", "odd"] | None,
        typer.Option(
            help="Every other item, from the first or second: tune on one half, report the other.",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many items.", rich_help_panel=_WHAT)] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON.", rich_help_panel=_RESULT)
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report to read.", rich_help_panel=_RESULT)
    ] = None,
    fail_above: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="PERCENT", help="Exit code 1 if the error rate is higher.", rich_help_panel=_RESULT
        ),
    ] = None,
    quiet: options.Quiet = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    debug: options.Debug = False,
) -> None:
    """Recognise the items of MANIFEST, and print error rates and speed by language, kind and condition.

    Exit code 1: an item could not be processed, or the error rate is above --fail-above.
    """
    place = _Place(local, results, session, url, token, token_file, ca_file, namespace, context, kubeconfig)
    place.check()
    filters = [_parse_filter(each) for each in only]
    with report_errors(debug=debug):
        from steno_client.evaluation.recognisers import RecogniserOptions  # noqa: PLC0415 - loads pydantic
        from steno_client.evaluation.report import build_report  # noqa: PLC0415

        items = _read_items(manifests, half, filters, limit)
        item_options = RecogniserOptions(language, diarize)
        with _open(
            place, _Pipelines(model, model_store, device, engine, mode), item_options, debug=debug
        ) as recogniser:
            outcomes = _run(items, recogniser, quiet=quiet)
            report = build_report(
                outcomes,
                recogniser=recogniser.description,
                settings=_settings(manifests, language, half, only, limit),
                load_seconds=recogniser.load_seconds,
                created_at=datetime.now(UTC),
            )
        _print(report)
        _write(report, json_file, html_file)
        _judge(report, fail_above)


def _parse_filter(given: str) -> Filter:
    from steno_client.evaluation.manifest import FILTER_KEYS, Filter  # noqa: PLC0415 - not for `--help`

    key, separator, pattern = given.partition("=")
    for known in FILTER_KEYS:
        if separator and key == known:
            return Filter(known, pattern)
    raise typer.BadParameter(f"--only {given}: write KEY=PATTERN with one of the keys {', '.join(FILTER_KEYS)}")


def _read_items(
    manifests: Sequence[Path], half: Half | None, filters: Sequence[Filter], limit: int | None
) -> list[Item]:
    from steno_client.evaluation import manifest  # noqa: PLC0415 - loads pydantic

    folder = os.environ.get(CORPUS)
    if not manifests and not folder:
        raise CommandError(
            f"there is nothing to evaluate: give a MANIFEST, or set {CORPUS} to a folder with "
            f"{' and '.join(manifest.MANIFEST_NAMES)}",
            EXIT_INPUT,
        )
    chosen: list[Item] = []
    for path in manifests or manifest.corpus_manifests(Path(folder or "")):
        items = manifest.read_manifest(path)
        chosen += items if half is None else manifest.half_of(items, half)
    selected = manifest.select(chosen, filters, limit)
    if not selected:
        raise CommandError(f"no item of {len(chosen)} is selected: change --only", EXIT_INPUT)
    return selected


@contextmanager
def _open(
    place: _Place, pipelines: _Pipelines, item_options: RecogniserOptions, *, debug: bool
) -> Generator[Recogniser]:
    if place.results is not None:
        from steno_client.evaluation.recognisers import PublishedDocuments  # noqa: PLC0415 - loads pydantic

        yield PublishedDocuments(place.results)
    elif place.local:
        with _local_pipelines(pipelines, item_options, debug=debug) as recogniser:
            yield recogniser
    else:
        from steno_client.evaluation.server import PoolServer  # noqa: PLC0415 - loads httpx
        from steno_client.target import ServerOverride, Target, complete_url, read_token  # noqa: PLC0415

        if place.session is None:
            target = Target(complete_url(place.url or ""), read_token(place.token, place.token_file), place.ca_file)
        else:
            override = ServerOverride(place.url, place.ca_file)
            target = wait_for_session(place.session, override, place.namespace, place.context, place.kubeconfig)
        with PoolServer(target, item_options) as server:
            server.check()
            yield server


@contextmanager
def _local_pipelines(pipelines: _Pipelines, item_options: RecogniserOptions, *, debug: bool) -> Generator[Recogniser]:
    from steno_client import local  # noqa: PLC0415 - needs the runtime
    from steno_client.evaluation.local import LocalPipelines  # noqa: PLC0415
    from steno_runtime.stt.options import TranscriptionOptions  # noqa: PLC0415

    store = pipelines.model_store or local.default_model_store()
    transcription = TranscriptionOptions(
        model=pipelines.model,
        model_store=store,
        device=pipelines.device,
        hf_token=os.environ.get("HF_TOKEN"),
        hub_downloads="Any",
    )
    recognition = local.RecognitionRequest(Path(), store, engine=pipelines.engine, mode=pipelines.mode)
    with local.quiet_libraries(debug=debug):
        yield LocalPipelines(transcription, recognition, item_options)


def _run(items: Sequence[Item], recogniser: Recogniser, *, quiet: bool) -> list[Outcome]:
    """Return what became of each item, and show meanwhile how far it is."""
    from steno_client.evaluation import recognisers  # noqa: PLC0415 - loads pydantic
    from steno_client.terminal import StatusLine  # noqa: PLC0415

    outcomes: list[Outcome] = []

    def announced() -> Iterator[Item]:
        for number, item in enumerate(items, 1):
            if not quiet:
                line.update(f"{number} of {len(items)}: {item.id}")
            yield item

    with StatusLine(sys.stderr) as line:
        for outcome in recognisers.evaluate(announced(), recogniser):
            outcomes.append(outcome)
            if outcome.error is not None:
                line.print(f"steno: {outcome.item.id} failed: {outcome.error}")
    return outcomes


def _settings(
    manifests: Sequence[Path], language: str, half: str | None, only: Sequence[str], limit: int | None
) -> dict[str, str]:
    """Return what was asked for, for readers of the report."""
    return {
        "Items of": ", ".join(path.name for path in manifests) or f"${CORPUS}",
        "Language": language,
        **({"Half": half} if half else {}),
        **({"Only": ", ".join(only)} if only else {}),
        **({"Limit": str(limit)} if limit else {}),
    }


def _print(report: Report) -> None:
    from steno_client.evaluation.tables import notes, tables  # noqa: PLC0415 - loads pydantic
    from steno_client.formatting import align_columns  # noqa: PLC0415

    for table in tables(report):
        typer.echo(table.title)
        for line in align_columns([table.header, *table.rows], figures=True):
            typer.echo(line)
        typer.echo()
    for note in notes(report):
        typer.echo(note)


def _write(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    from steno_client.evaluation.page import render_page  # noqa: PLC0415 - loads pydantic
    from steno_client.output_files import atomic_write  # noqa: PLC0415

    for path, text in ((json_file, report.model_dump_json(indent=1)), (html_file, render_page(report))):
        if path is not None:
            with atomic_write(path) as draft:
                draft.write_text(text + "\n", encoding="utf-8")
            typer.echo(path, err=True)


def _judge(report: Report, fail_above: float | None) -> None:
    """Raise if items failed, or the error rate of recordings or documents is too high."""
    wrong: list[str] = []
    if report.failed:
        names = ", ".join(one.id for one in report.failed)
        wrong.append(f"{len(report.failed)} of {len(report.items)} items failed: {names}")
    for one in report.media:
        rate = one.total.errors.rate if one.total.errors else None
        if fail_above is not None and rate is not None and 100 * rate > fail_above:
            wrong.append(f"the error rate of {one.medium.value}s is {100 * rate:.1f} %, above {fail_above:g} %")
    if wrong:
        raise CommandError("; ".join(wrong), EXIT_FAILED)
