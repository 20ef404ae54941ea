"""The worker's memory, and recordings that do not fit into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.memory import available_memory
from steno_runtime.worker.limits import MIN_SECONDS, max_seconds, too_long_message
from steno_runtime.worker.task_handler import AttemptContext
from steno_runtime.worker.transcription import TranscriptionHandler

GIB = 1024**3
MIB = 1024**2


@pytest.mark.parametrize(
    ("gib", "diarize", "hours"), [(16, False, 37.2), (16, True, 12.2), (24, True, 15.4), (8, False, 18.6), (1, True, 4)]
)
def test_hours_by_memory(gib, diarize, hours):
    assert max_seconds(gib * GIB, diarize=diarize) / 3600 == pytest.approx(hours, abs=0.1)


@given(memory=st.integers(1, 2**50), more=st.integers(0, 2**50), diarize=st.booleans())
def test_more_memory_takes_no_less(memory, more, diarize):
    fits = max_seconds(memory, diarize=diarize)
    assert MIN_SECONDS <= fits <= max_seconds(memory + more, diarize=diarize)
    assert max_seconds(memory, diarize=True) <= max_seconds(memory, diarize=False)


def test_the_message_says_how_long_and_what_to_do():
    message = too_long_message(16 * GIB, diarize=False)
    assert "37.2 hours" in message
    assert "16.0 GiB" in message
    assert "Split it" in message
    assert "resources.limits.memory" in message


def test_a_worker_refuses_what_does_not_fit_before_it_decodes(make_task, tmp_path, monkeypatch):
    monkeypatch.setattr("steno_runtime.worker.transcription.available_memory", lambda: GIB)
    count = 20_000  # samples of eight bits, one a second: more than five hours in 20 kB
    header = b"WAVEfmt \x10\0\0\0\1\0\1\0\1\0\0\0\1\0\0\0\1\0\x08\0data" + count.to_bytes(4, "little")
    path: Path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF" + (36 + count).to_bytes(4, "little") + header + bytes(count))
    attempt = AttemptContext(
        task=make_task(),
        check=lambda: None,
        on_progress=lambda *_: None,
        scratch=tmp_path,
        fetch=lambda _: path,
        seconds=lambda: 1.0,
    )
    with pytest.raises(WorkError, match="4 hours") as caught:
        TranscriptionHandler(make_task()).run(attempt)
    assert caught.value.reason is FailureReason.TOO_LARGE


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
