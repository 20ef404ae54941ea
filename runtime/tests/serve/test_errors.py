"""The documented table of error codes, which clients are written by."""

from __future__ import annotations

import re
from pathlib import Path

from steno_api.server.errors import ErrorCode

TEXT = (Path(__file__).parents[3] / "docs" / "streaming.md").read_text()


def test_the_documented_error_codes_are_the_servers():
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| `(\w+)` \| (.+) \|$", TEXT, re.MULTILINE)
    documented = {code: (int(http), int(close), grpc) for code, http, close, grpc, _ in rows}
    assert documented == {one.value.code: (one.value.http, one.value.close, one.value.grpc) for one in ErrorCode}
