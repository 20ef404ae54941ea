"""The operator benchmark with few jobs: every arm completes its jobs."""

from __future__ import annotations

import pytest

from bench.operator_load import measure, table

JOBS = 60


@pytest.mark.slow
@pytest.mark.apiserver
@pytest.mark.timeout(900)
def test_every_arm_runs_its_jobs_to_completion():
    found = measure(JOBS, 1)
    assert set(found) == {"bare", "steno", "tutorial"}
    for (figures,) in found.values():
        assert 0 < figures.submitted <= figures.complete
        assert figures.children <= figures.complete
    bare, steno = found["bare"][0], found["steno"][0]
    assert JOBS <= bare.requests <= JOBS + 5
    # A job costs a read, a child, two statuses and three Events, and three reads of what ends it: no second tries.
    assert 9 * JOBS < steno.requests < 12 * JOBS  # the lease's are among them
    assert 0 < steno.memory_mb < 200
    assert table(found).count("\n| ") == 3
