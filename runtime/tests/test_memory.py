from __future__ import annotations

import pytest

from steno_runtime.memory import available_memory

MIB = 1024**2


@pytest.fixture
def memory(monkeypatch, tmp_path):
    """`available_memory` on a machine of 8 GiB, with what control groups say."""
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2 * MIB}.__getitem__)

    def count(name: str | None = None, text: str = "") -> int:
        if name is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return available_memory(tmp_path) // MIB

    return count


def test_without_a_limit_it_is_the_machines(memory):
    assert memory() == 8192
    assert memory("memory.max", "max\n") == 8192


def test_the_limit_of_control_groups_v2(memory):
    assert memory("memory.max", f"{512 * MIB}\n") == 512


def test_the_limit_of_control_groups_v1(memory):
    assert memory("memory/memory.limit_in_bytes", f"{512 * MIB}\n") == 512


def test_no_limit_of_control_groups_v1(memory):
    assert memory("memory/memory.limit_in_bytes", "9223372036854771712\n") == 8192


@pytest.mark.parametrize("text", ["", "garbage", "-1", "0"])
def test_what_cannot_be_read_limits_nothing(memory, text):
    assert memory("memory.max", text) == 8192
