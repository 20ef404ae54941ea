"""The documented tables of error codes, which clients are written by."""

from __future__ import annotations

import re
from pathlib import Path

from steno_api.server.errors import ErrorCode

DOCS = Path(__file__).parents[2] / "docs"


def test_the_documented_error_codes_are_those_that_exist():
    text = "".join((DOCS / name).read_text() for name in ("streaming.md", "gateway.md"))
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| `(\w+)` \| (.+) \|$", text, re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows})
    documented = {code: (int(http), int(close), grpc) for code, http, close, grpc, _ in rows}
    assert documented == {one.value.code: (one.value.http, one.value.close, one.value.grpc) for one in ErrorCode}
