"""Recordings that are longer than the memory has room for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.worker.length import LEAST_SECONDS, longest_seconds, too_long
from steno_runtime.worker.transcription import Transcription
from steno_runtime.worker.work import Attempt

GIB = 1024**3


@pytest.mark.parametrize(
    ("gib", "diarize", "hours"), [(16, False, 37.2), (16, True, 12.2), (24, True, 15.4), (8, False, 18.6), (1, True, 4)]
)
def test_hours_by_memory(gib, diarize, hours):
    assert longest_seconds(gib * GIB, diarize=diarize) / 3600 == pytest.approx(hours, abs=0.1)


@given(memory=st.integers(1, 2**50), more=st.integers(0, 2**50), diarize=st.booleans())
def test_more_memory_takes_no_less(memory, more, diarize):
    least = longest_seconds(memory, diarize=diarize)
    assert LEAST_SECONDS <= least <= longest_seconds(memory + more, diarize=diarize)
    assert longest_seconds(memory, diarize=True) <= longest_seconds(memory, diarize=False)


def test_the_message_says_how_long_and_what_to_do():
    message = too_long(16 * GIB, diarize=False)
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
    attempt = Attempt(
        task=make_task(),
        check=lambda: None,
        on_progress=lambda *_: None,
        scratch=tmp_path,
        fetch=lambda _: path,
        seconds=lambda: 1.0,
    )
    with pytest.raises(WorkError, match="4 hours") as caught:
        Transcription(make_task()).produce(attempt)
    assert caught.value.reason is FailureReason.TOO_LARGE
