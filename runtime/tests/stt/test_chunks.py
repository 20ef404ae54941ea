from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import (
    FULL_FRAMES,
    MAX_CHUNK_SECONDS,
    SHORT_TAIL_FRAMES,
    TAIL_FRAMES,
    VAD_FRAME,
    VAD_FRAME_MILLIS,
    Chunk,
    Span,
    VadOptions,
    batches,
    longest_audio,
    mel_frames,
    pack,
    speech_spans,
    window_frames,
)

MAX_SAMPLES = int(MAX_CHUNK_SECONDS * SAMPLE_RATE)
probabilities = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.45, 0.6, 1.0]), st.integers(1, 700)), max_size=20
).map(lambda runs: [value for value, count in runs for _ in range(count)])


@st.composite
def audio(draw):
    """Spans that do not overlap, none longer than a chunk, and the audio's length."""
    spans, at = [], 0
    for gap, length in draw(
        st.lists(st.tuples(st.integers(1, 5 * SAMPLE_RATE), st.integers(1000, MAX_SAMPLES)), max_size=30)
    ):
        spans.append(Span(at + gap, at + gap + length))
        at += gap + length
    return spans, at + draw(st.integers(0, 10 * SAMPLE_RATE))


@given(probabilities, st.integers(0, VAD_FRAME - 1))
def test_spans_are_sorted_disjoint_bounded_and_hold_what_is_clearly_speech(frames, missing):
    length = max(0, len(frames) * VAD_FRAME - missing)
    spans = speech_spans(frames, length)
    options = VadOptions()
    edges = [edge for span in spans for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(0 <= span.start < span.end <= length for span in spans)
    max_frames = int(options.max_speech_duration_s * SAMPLE_RATE) // VAD_FRAME
    assert all(span.end - span.start <= max_frames * VAD_FRAME for span in spans)
    detected = {frame for span in spans for frame in range(span.start // VAD_FRAME, -(-span.end // VAD_FRAME))}
    run = 0
    for index, value in enumerate([*frames, 0.0]):
        if value >= options.threshold:
            run += 1
            continue
        if run >= options.min_speech_duration_ms // VAD_FRAME_MILLIS:
            assert set(range(index - run, index)) <= detected | {len(frames) - 1}
        run = 0


def test_silence_between_thresholds_does_not_end_speech_but_real_silence_does():
    assert len(speech_spans([1.0] * 10 + [0.4] * 20 + [1.0] * 10, 40 * VAD_FRAME)) == 1
    assert len(speech_spans([1.0] * 10 + [0.1] * 5 + [1.0] * 10, 25 * VAD_FRAME)) == 2
    assert len(speech_spans([1.0] * 10 + [0.1] * 4 + [1.0] * 10, 24 * VAD_FRAME)) == 1
    assert speech_spans([0.0] * 50, 50 * VAD_FRAME) == []
    assert speech_spans([], 0) == []


def test_long_speech_is_cut_where_it_is_least_likely():
    frames = [1.0] * 900
    frames[450] = 0.5
    first, second = speech_spans(frames, 900 * VAD_FRAME)
    assert first.end == second.start == 451 * VAD_FRAME


@given(audio())
def test_every_span_is_in_one_chunk_and_chunks_keep_their_bounds(given_audio):
    spans, length = given_audio
    chunks = pack(spans, length)
    assert [span for chunk in chunks for span in chunk.speech] == spans
    edges = [edge for chunk in chunks for edge in (chunk.start, chunk.end)]
    assert edges == sorted(edges)
    for chunk in chunks:
        assert 0 <= chunk.start <= chunk.speech[0].start
        assert chunk.speech[-1].end <= chunk.end <= length
        assert sum(piece.end - piece.start for piece in chunk.pieces) <= MAX_SAMPLES


@given(audio())
def test_pieces_hold_all_speech_and_leave_out_only_the_middle_of_long_pauses(given_audio):
    spans, length = given_audio
    pad = SAMPLE_RATE * 2 // 5
    for chunk in pack(spans, length):
        assert (chunk.pieces[0].start, chunk.pieces[-1].end) == (chunk.start, chunk.end)
        assert all(
            any(piece.start <= span.start and span.end <= piece.end for piece in chunk.pieces) for span in chunk.speech
        )
        for before, after in itertools.pairwise(chunk.pieces):
            assert before.end < after.start
            assert any(span.end == before.end - pad for span in chunk.speech)
            assert any(span.start == after.start + pad for span in chunk.speech)


@given(audio(), st.data())
def test_times_of_a_window_are_those_of_its_pieces(given_audio, data):
    spans, length = given_audio
    for chunk in pack(spans, length):
        passed = 0
        for piece in chunk.pieces:
            within = data.draw(st.integers(0, piece.end - piece.start - 1))
            assert chunk.time_of((passed + within) / SAMPLE_RATE) == (piece.start + within) / SAMPLE_RATE
            passed += piece.end - piece.start
            assert chunk.time_of(passed / SAMPLE_RATE, is_end=True) == piece.end / SAMPLE_RATE
        assert chunk.time_of(passed / SAMPLE_RATE + 30.0) == chunk.end / SAMPLE_RATE


def test_where_two_pieces_meet_one_word_ends_before_the_pause_and_the_next_begins_after_it():
    second = SAMPLE_RATE
    chunk = Chunk(0, 9 * second, pieces=(Span(0, 2 * second), Span(5 * second, 9 * second)))
    assert (chunk.time_of(2.0, is_end=True), chunk.time_of(2.0)) == (2.0, 5.0)


def test_chunks_are_as_few_as_possible_and_even():
    second = SAMPLE_RATE
    spans = [Span(at * second, at * second + second * 9 // 10) for at in range(36)]
    assert [len(chunk.speech) for chunk in pack(spans, 36 * second)] == [18, 18]
    assert [len(chunk.speech) for chunk in pack(spans[:27], 27 * second)] == [27]


def test_a_long_pause_is_not_decoded():
    second = SAMPLE_RATE
    first, after = pack([Span(second, 2 * second), Span(6 * second, 7 * second)], 8 * second)
    assert first.end < after.start


@given(st.integers(1, MAX_SAMPLES), st.sampled_from([SHORT_TAIL_FRAMES, TAIL_FRAMES]))
def test_a_window_has_room_for_the_audio_and_its_tail(samples, tail):
    size, frames = window_frames(samples, tail), mel_frames(samples)
    assert size % 500 == 0
    assert min(FULL_FRAMES, frames + tail) <= size <= FULL_FRAMES
    assert frames + SHORT_TAIL_FRAMES <= size < frames + tail + 500
    assert samples / SAMPLE_RATE <= longest_audio(size, tail)


@given(
    st.lists(st.tuples(st.sampled_from([500, 1000, 2000]), st.sampled_from(["en", "ko"])), max_size=60),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_batches_hold_every_window_once_with_its_like(sizes, max_windows, workers):
    made = batches(sizes, max_windows, workers)
    assert sorted(index for batch in made for index in batch) == list(range(len(sizes)))
    assert [len(batch) for batch in made] == sorted((len(batch) for batch in made), reverse=True)
    for batch in made:
        assert 1 <= len(batch) <= max_windows
        assert len({sizes[index] for index in batch}) == 1
    if len(set(sizes)) == 1:
        assert len(made) >= min(workers, len(sizes))
    for size in set(sizes):
        lengths = [len(batch) for batch in made if sizes[batch[0]] == size]
        assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize(
    ("windows", "lengths"), [(1, [1]), (2, [1, 1]), (5, [3, 2]), (8, [4, 4]), (9, [3, 2, 2, 2]), (26, [4, 4, *[3] * 6])]
)
def test_two_workers_have_as_much_to_do(windows, lengths):
    assert [len(batch) for batch in batches([2000] * windows, 4, 2)] == lengths
