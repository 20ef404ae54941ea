"""Tables of a report: the cells that the terminal and the HTML page show alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from steno_client.evaluation.manifest import Medium
from steno_client.evaluation.report import MediumReport, Report
from steno_client.evaluation.scores import EditCounts
from steno_client.evaluation.summary import Group, Speed

TITLES = {Medium.RECORDING: "Recordings", Medium.DOCUMENT: "Documents"}


@dataclass(frozen=True)
class Table:
    """A table of text; the first column is left-aligned, the others hold figures."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Column:
    name: str
    cell: Callable[[Group], str]


def tables(report: Report) -> Iterator[Table]:
    """Yield the tables of a report: recordings, then documents, each by language, kind and condition."""
    for one in report.media:
        columns = _columns(one)
        groupings = (("language", one.languages), ("kind", one.kinds), ("condition", one.conditions))
        shown = [(name, groups) for name, groups in groupings if name == "language" or len(groups) > 1]
        for name, groups in shown:
            rows = [(*(column.cell(each) for column in columns),) for each in (*groups, one.total)]
            labels = [*(each.name for each in groups), one.total.name]
            yield _without_empty_columns(
                Table(
                    f"{TITLES[one.medium]} by {name}",
                    (name, *(column.name for column in columns)),
                    tuple((label, *row) for label, row in zip(labels, rows, strict=True)),
                )
            )


def notes(report: Report) -> Iterator[str]:
    """Yield lines about what the tables do not show: the range of speeds, loading, warnings and failures."""
    for one in report.media:
        speed = one.total.audio_speed or one.total.page_speed
        if speed is not None:
            yield f"{TITLES[one.medium]}: {describe_speed(speed, one.medium)}"
        silence = one.total.hallucinated_words
        if silence is not None:
            yield f"{TITLES[one.medium]}: {silence} hallucinated words where nothing is said or printed"
        if one.total.warnings:
            counted = ", ".join(f"{reason} {count}" for reason, count in one.total.warnings.items())
            yield f"{TITLES[one.medium]}: warnings: {counted}"
    if report.load_seconds:
        yield f"Loading models took {report.load_seconds:.1f} s, which is in no speed"
    for item in report.failed:
        yield f"Failed: {item.id}: {item.error}"


def describe_speed(speed: Speed, medium: Medium) -> str:
    """Return the speed of all items, and the range over items."""
    amount, unit = (
        (f"{speed.amount / 60:.1f} minutes", "x real time")
        if medium is Medium.RECORDING
        else (f"{speed.amount:.0f} pages", "pages/s")
    )
    return (
        f"{amount} in {speed.seconds:.1f} s: {speed.overall:.2f} {unit}; by item: slowest {speed.minimum:.2f}, "
        f"median {speed.median:.2f}, fastest {speed.maximum:.2f}"
    )


def percent(rate: float | None) -> str:
    """Return a rate in percent; nothing for None."""
    return "" if rate is None else f"{100 * rate:.1f}"


def _columns(report: MediumReport) -> Sequence[_Column]:
    def rate(counts: EditCounts | None) -> str:
        return percent(counts.rate) if counts else ""

    def speed(found: Group) -> str:
        measured = found.audio_speed or found.page_speed
        return f"{measured.overall:.2f}" if measured else ""

    return (
        _Column("items", lambda one: str(one.items)),
        _Column("failed", lambda one: str(one.failed or "")),
        _Column("WER %", lambda one: rate(one.words)),
        _Column("CER %", lambda one: rate(one.characters)),
        _Column("errors %", lambda one: rate(one.errors) if one.errors != one.words else ""),
        _Column("words found %", lambda one: percent(one.words_found.rate) if one.words_found else ""),
        _Column("keywords %", lambda one: percent(one.keywords.rate) if one.keywords else ""),
        _Column("DER %", lambda one: percent(one.speakers.rate) if one.speakers else ""),
        _Column("word time ms", lambda one: _milliseconds(one.word_times.mean) if one.word_times else ""),
        _Column("x real time" if report.medium is Medium.RECORDING else "pages/s", speed),
    )


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.0f}"


def _without_empty_columns(table: Table) -> Table:
    kept = [at for at in range(len(table.header)) if at == 0 or any(row[at] for row in table.rows)]
    return Table(
        table.title,
        tuple(table.header[at] for at in kept),
        tuple(tuple(row[at] for at in kept) for row in table.rows),
    )
