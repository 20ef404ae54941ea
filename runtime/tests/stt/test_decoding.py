"""Chunks are decoded in batches, as many at a time as the engine has workers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import inf

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import Chunk, Span
from steno_runtime.stt.ctranslate import default_workers
from steno_runtime.stt.decoding import decode_chunks
from steno_runtime.stt.engine import Decoded, DecodeProfile

SAMPLES = np.arange(100 * SAMPLE_RATE, dtype=np.float32)


def chunk(*pieces: tuple[int, int]) -> Chunk:
    """Return a chunk of pieces that begin and last that many seconds."""
    spans = tuple(Span(begin * SAMPLE_RATE, (begin + seconds) * SAMPLE_RATE) for begin, seconds in pieces)
    return Chunk(spans[0].start, spans[-1].end, spans, spans)


CHUNKS = [chunk((0, 9)), chunk((9, 9)), chunk((18, 2)), chunk((20, 3), (25, 6))]


class MeetingEngine:
    """Decodes the first sample of each window; its calls wait until `workers` of them are under way."""

    device, languages, batch_size = "cpu", frozenset({"en", "ko"}), 2

    def __init__(self, workers: int, meet: int = 1, fail: str = "") -> None:
        self.workers, self.fail = workers, fail
        self.together = threading.Barrier(meet)
        self.calls: list[tuple[str, int]] = []

    def detect_languages(self, windows: Sequence[np.ndarray]) -> list[dict[str, float]]:
        raise AssertionError(windows)

    def decode(self, windows: Sequence[np.ndarray], language: str, _: DecodeProfile) -> list[Decoded]:
        self.calls.append((language, len(windows)))
        if len(self.calls) <= self.together.parties:
            self.together.wait(10)
        if self.fail == language:
            raise WorkError(FailureReason.OUT_OF_MEMORY, "No memory is left.")
        return [Decoded(f"{language} {int(window[0]) // SAMPLE_RATE}", (), 0.0, 0.0) for window in windows]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_chunk_has_its_result(workers):
    engine, seen = MeetingEngine(workers), []
    rows = decode_chunks(SAMPLES, CHUNKS, ["en", "en", "en", "ko"], engine, check=lambda: None, on_decoded=seen.extend)
    assert [row.text for row in rows] == ["en 0", "en 9", "en 18", "ko 20"]
    assert sorted(seen) == [0, 1, 2, 3]


def test_workers_decode_at_the_same_time():
    engine = MeetingEngine(workers=2, meet=2)  # a single call would wait forever
    decode_chunks(SAMPLES, CHUNKS[:2], ["en", "en"], engine, check=lambda: None)
    assert engine.calls == [("en", 1), ("en", 1)]


def test_nothing_is_decoded_of_nothing():
    assert decode_chunks(SAMPLES, [], [], MeetingEngine(2), check=lambda: None) == []


def test_a_failure_ends_all():
    with pytest.raises(WorkError, match="No memory"):
        decode_chunks(SAMPLES, CHUNKS, ["en", "en", "en", "ko"], MeetingEngine(2, fail="ko"), check=lambda: None)


def test_a_stop_leaves_the_rest_undecoded():
    engine = MeetingEngine(workers=1)

    def check() -> None:
        if engine.calls:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_chunks(SAMPLES, CHUNKS, ["en"] * 4, engine, check=check)
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("seconds", "cores", "workers"),
    [(0, 2, 1), (16, 2, 1), (40, 2, 2), (7200, 2, 2), (40, 1, 1), (7200, 64, 4), (inf, 2, 2), (inf, 64, 4)],
)
def test_workers_by_what_there_is_to_decode(seconds, cores, workers):
    assert default_workers(seconds, cores) == workers


def test_a_window_is_the_pieces_of_its_chunk_end_to_end():
    heard: list[np.ndarray] = []

    class Listener(MeetingEngine):
        def decode(self, windows: Sequence[np.ndarray], language: str, profile: DecodeProfile) -> list[Decoded]:
            heard.extend(windows)
            return super().decode(windows, language, profile)

    decode_chunks(SAMPLES, CHUNKS[3:], ["en"], Listener(1), check=lambda: None)
    [window] = heard
    assert window.tolist() == [
        *SAMPLES[20 * SAMPLE_RATE : 23 * SAMPLE_RATE],
        *SAMPLES[25 * SAMPLE_RATE : 31 * SAMPLE_RATE],
    ]
