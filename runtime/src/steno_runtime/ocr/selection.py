"""Page ranges as users write them: `1-20,25`, `3-`, `-4`."""

from __future__ import annotations

import re

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

_RANGE = re.compile(r"\s*(?:(?P<one>\d+)|(?P<first>\d+)?\s*-\s*(?P<last>\d+)?)\s*")


def select_pages(spec: str | None, total: int) -> list[int]:
    """Returns the numbers (from 1, ascending, each once) of the pages that `spec` names; all without one.

    A range may end past the last page, as with a printer.

    Raises:
        WorkError: `InvalidSpec`: it cannot be understood, or names no page of this document.
    """
    if spec is None or not spec.strip():
        return list(range(1, total + 1))
    chosen: set[int] = set()
    for part in spec.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or not any(match.groups()):
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"pages: {part.strip()!r} is no page range; write for example 1-20,25 or 3-.",
            )
        if match["one"]:
            first = last = int(match["one"])
        else:
            first, last = int(match["first"] or 1), int(match["last"] or total)
            if match["first"] and match["last"] and last < first:
                raise WorkError(FailureReason.INVALID_SPEC, f"pages: {part.strip()!r} ends before it begins.")
        if first < 1:
            raise WorkError(FailureReason.INVALID_SPEC, "pages: the first page is 1.")
        chosen.update(range(first, min(last, total) + 1))
    if not chosen:
        raise WorkError(
            FailureReason.INVALID_SPEC, f"pages: {spec!r} names no page of this document; it has {total} page(s)."
        )
    return sorted(chosen)
