from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.page import select_pages


@pytest.mark.parametrize(
    ("spec", "pages"),
    [
        (None, [1, 2, 3, 4, 5]),
        ("", [1, 2, 3, 4, 5]),
        ("2", [2]),
        ("1-3,5", [1, 2, 3, 5]),
        (" 4 - , 1", [1, 4, 5]),
        ("-2", [1, 2]),
        ("3-99", [3, 4, 5]),
        ("2,2,1-2", [1, 2]),
    ],
)
def test_ranges(spec, pages):
    assert select_pages(spec, 5) == pages


@pytest.mark.parametrize("spec", ["a", "1-2-3", "-", "3-2", "0", "0-2", "6", "7-9", "1,,2", "1;2"])
def test_refused(spec):
    with pytest.raises(WorkError) as refused:
        select_pages(spec, 5)
    assert refused.value.reason is FailureReason.INVALID_SPEC


@given(st.sets(st.integers(1, 40), min_size=1), st.integers(1, 40))
def test_a_list_of_pages_is_itself_as_far_as_there_are_pages(wanted, total):
    spec = ",".join(map(str, wanted))
    expected = sorted(page for page in wanted if page <= total)
    if expected:
        assert select_pages(spec, total) == expected
    else:
        with pytest.raises(WorkError):
            select_pages(spec, total)
