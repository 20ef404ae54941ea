"""Bar charts of error rates as SVG, without scripts or fonts of their own, so that they stand in a page or alone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from steno_client.evaluation.report import Report
from steno_client.evaluation.summary import Group
from steno_client.evaluation.tables import TITLES, percent

WIDTH = 760
LABEL, FIGURES = 150, 250
"""Widths of the columns left and right of the bars."""
ROW, TITLE, MARGIN = 24, 34, 14
MAX_RATE = 1.0
"""Rates above are drawn as this one; the figure beside the bar is exact."""
_INK, _FAINT, _BAR, _TOTAL = "#1f2933", "#667380", "#3d7ea6", "#1d4e6b"


def error_chart(report: Report) -> str:
    """Return a chart of the error rate of each language; empty if nothing was scored."""
    parts: list[str] = []
    top = float(MARGIN)
    for medium in report.media:
        scored = [one for one in (*medium.languages, medium.total) if _rate(one) is not None]
        if scored:
            parts += _bars(f"{TITLES[medium.medium]}: errors by language", scored, top)
            top += TITLE + ROW * len(scored) + MARGIN
    if not parts:
        return ""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:g}" width="{WIDTH}" height="{top:g}" '
        f'role="img" aria-label="Error rates by language" font-family="system-ui, sans-serif" font-size="13">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


def _bars(title: str, groups: Sequence[Group], top: float) -> list[str]:
    scale = max(min(MAX_RATE, _rate(one) or 0.0) for one in groups) or 1.0
    room = WIDTH - LABEL - FIGURES - 2 * MARGIN
    parts = [f'<text x="{MARGIN}" y="{top + 18:g}" fill="{_INK}" font-weight="600">{escape(title)}</text>']
    for number, one in enumerate(groups):
        y = top + TITLE + ROW * number
        rate = _rate(one) or 0.0
        length = room * min(MAX_RATE, rate) / scale
        is_total = number == len(groups) - 1
        left = MARGIN + LABEL
        fill = _TOTAL if is_total else _BAR
        remark = f"{_unit(one)}, {one.scored} {'item' if one.scored == 1 else 'items'}"
        parts += [
            f'<text x="{left - 10}" y="{y + 14:g}" fill="{_INK}" text-anchor="end">{escape(one.name)}</text>',
            f'<rect x="{left}" y="{y + 3:g}" width="{max(1.0, length):.1f}" height="{ROW - 9}" rx="2" fill="{fill}"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 14:g}" fill="{_INK}">{percent(rate)} %',
            f'<tspan fill="{_FAINT}" dx="6">{remark}</tspan></text>',
        ]
    return parts


def _rate(found: Group) -> float | None:
    return found.errors.rate if found.errors else None


def _unit(found: Group) -> str:
    """Return what the errors of a group are counted in."""
    if found.words is None:
        return "characters"
    return "words" if found.words == found.errors else "words, characters"
