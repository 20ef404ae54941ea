"""HTML page of a report: one file without scripts or links, which can be mailed, archived and printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from steno_client.evaluation.chart import error_chart
from steno_client.evaluation.report import ItemReport, Report
from steno_client.evaluation.tables import Table, notes, percent, tables

MAX_EXAMPLES = 20
MAX_TEXT = 2000
"""Characters of a text that are shown."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; } tbody tr:last-child { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content auto; gap: 0 1rem; } dd { margin: 0; }
details { margin: .3rem 0; } .text { white-space: pre-wrap; border-left: 3px solid #8886; padding-left: .7rem; }
svg { max-width: 100%; height: auto; }
"""


def render_page(report: Report) -> str:
    """Return the page of a report."""
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Evaluation of {escape(report.recogniser)}</title><style>{_STYLE}</style></head><body>",
            "<h1>Evaluation</h1>",
            *_facts(report),
            error_chart(report),
            *(part for table in tables(report) for part in _table(table)),
            *_list("Speed, warnings and failures", notes(report)),
            *_examples(report.items),
            "</body></html>",
        )
    )


def _facts(report: Report) -> Iterator[str]:
    facts = {
        "Recognised by": report.recogniser,
        **report.settings,
        "Date": report.created_at.strftime("%Y-%m-%d %H:%M %Z").strip(),
        "Version": report.version,
    }
    yield "<dl>"
    for name, value in facts.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2><table><thead><tr>"
    yield "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"


def _list(title: str, lines: Iterable[str]) -> Iterator[str]:
    found = list(lines)
    if found:
        yield f"<h2>{escape(title)}</h2><ul>"
        yield from (f"<li>{escape(line)}</li>" for line in found)
        yield "</ul>"


def _examples(items: Iterable[ItemReport]) -> Iterator[str]:
    """Yield the items with the highest error rates, and what was recognised of them."""
    wrong = sorted((one for one in items if one.error_rate), key=lambda one: -(one.error_rate or 0.0))[:MAX_EXAMPLES]
    if not wrong:
        return
    yield "<h2>Items with the most errors</h2>"
    for one in wrong:
        kind = ", ".join(part for part in (*one.languages, one.kind, one.condition) if part)
        yield f"<details><summary>{escape(one.id)} ({escape(kind)}): {percent(one.error_rate)} %</summary>"
        for label, text in (("Reference", one.reference), ("Recognised", one.text)):
            yield f'<p>{label}</p><p class="text" dir="auto">{escape(_shortened(text or ""))}</p>'
        yield "</details>"


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
