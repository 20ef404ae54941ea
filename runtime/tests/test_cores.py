from __future__ import annotations

import os
import subprocess
import sys

import pytest

from steno_runtime.cores import available_cores

SETTINGS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "GOTO_NUM_THREADS")


@pytest.fixture
def cores(monkeypatch, tmp_path):
    """`available_cores` on a machine of eight cores, with what control groups say."""
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))

    def count(**files: str) -> int:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return available_cores(tmp_path)

    return count


def test_without_a_limit_it_is_the_affinity(cores):
    assert cores() == 8
    assert cores(cpu_dot_max="max 100000\n") == 8


@pytest.mark.parametrize(("quota", "expected"), [(300_000, 3), (250_000, 2), (50_000, 1), (1_000, 1), (9_900_000, 8)])
def test_the_limit_of_control_groups_v2(cores, quota, expected):
    assert cores(cpu_dot_max=f"{quota} 100000\n") == expected


def test_the_limit_of_control_groups_v1(cores):
    assert cores(cpu__cpu_dot_cfs_quota_us="200000\n", cpu__cpu_dot_cfs_period_us="100000\n") == 2


def test_no_limit_of_control_groups_v1(cores):
    assert cores(cpu__cpu_dot_cfs_quota_us="-1\n", cpu__cpu_dot_cfs_period_us="100000\n") == 8


def test_what_cannot_be_read_limits_nothing(cores):
    assert cores(cpu_dot_max="garbage of three words") == 8
    assert cores(cpu_dot_max="12x 100000") == 8


def test_openmp_has_its_own_limit(cores, monkeypatch):
    monkeypatch.setenv("OMP_THREAD_LIMIT", "2")
    assert cores() == 2
    monkeypatch.setenv("OMP_THREAD_LIMIT", "0")
    assert cores() == 1


IDLE_THREADS = """
import numpy, threadpoolctl
from steno_runtime.cores import use_passive_waits
use_passive_waits()
import scipy.linalg
print(*(each["num_threads"] for each in threadpoolctl.threadpool_info() if each["internal_api"] == "openblas"))
"""


def threads_of_openblas(**settings: str) -> set[int]:
    """Return the threads of each OpenBLAS of a new process, one of which is loaded before and one after."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | settings
    command = [sys.executable, "-c", IDLE_THREADS]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return set(map(int, answer.stdout.split()))


def test_no_thread_of_openblas_spins_beside_the_one_that_works():
    assert threads_of_openblas() == {1}


def test_the_environment_decides_how_many_threads_openblas_has():
    assert threads_of_openblas(OPENBLAS_NUM_THREADS="2") == {2}
