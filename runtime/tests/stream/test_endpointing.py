from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from steno_runtime.stream.endpointing import (
    Change,
    Ended,
    Endpointer,
    EndpointOptions,
    Look,
    Quiet,
    Resumed,
    Started,
)

YES, NO = 0.9, 0.1


def run(probabilities, millis=300) -> list[Change]:
    machine = Endpointer(EndpointOptions.of(millis))
    changes = [change for probability in probabilities for change in machine.push(probability)]
    return changes + machine.flush()


def test_speech_between_silences_with_audio_before_and_behind_it():
    changes = run([NO] * 20 + [YES] * 30 + [NO] * 20)
    assert changes == [Started(10, 20), Quiet(55), Ended(10, 55, 50, 30)]


def test_one_frame_is_no_speech():
    assert run([NO] * 20 + [YES] + [NO] * 20) == []


def test_a_short_pause_does_not_end_it():
    changes = run([YES] * 20 + [NO] * 7 + [YES] * 20 + [NO] * 10)
    assert [type(change) for change in changes] == [Started, Quiet, Resumed, Quiet, Ended]
    assert changes[-1] == Ended(0, 52, 47, 40)


def test_the_pause_is_the_sessions():
    talk = [YES] * 20 + [NO] * 7 + [YES] * 20 + [NO] * 10
    assert sum(isinstance(change, Ended) for change in run(talk, 200)) == 2
    assert sum(isinstance(change, Ended) for change in run(talk, 5000)) == 1


def test_a_very_short_pause_takes_no_audio_that_was_not_heard():
    ended = run([YES] * 20 + [NO] * 20, 50)[-1]
    assert ended == Ended(0, 22, 20, 20)


def test_flush_ends_what_is_open():
    assert run([YES] * 20)[-1] == Ended(0, 20, 20, 20)
    assert Endpointer(EndpointOptions.of(300)).flush() == []


def test_long_speech_is_cut_at_its_longest_pause_and_goes_on():
    options = EndpointOptions.of(300)
    talk = [YES] * 400 + [NO] * 3 + [YES] * 60 + [NO] * 6 + [YES] * 500 + [NO] * 10
    changes = run(talk)
    ends = [change for change in changes if isinstance(change, Ended)]
    assert ends[0].cut
    assert 463 <= ends[0].end <= 469
    assert ends[1].begin == ends[0].end
    assert sum(isinstance(change, Started) for change in changes) == 1
    assert all(end.end - end.begin <= options.longest for end in ends)


def test_an_utterance_that_is_full_in_a_pause_just_ends():
    changes = run([YES] * 500 + [NO] * 100, 5000)
    assert changes[-1] == Ended(0, 505, 500, 500)


def test_looks_come_every_few_seconds_and_leave_room_for_the_cut():
    changes = run([YES] * 531)
    looks = [change.end for change in changes if isinstance(change, Look)]
    assert looks == [62, 156, 250, 344]


@example([(0.6, 33), (0.4, 300), (0.6, 198), (0.4, 33), (0.4, 300)])
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.6, 1.0]), st.integers(1, 300)), max_size=12))
def test_utterances_do_not_overlap_are_not_too_long_and_no_speech_is_lost(runs):
    probabilities = [probability for probability, count in runs for _ in range(count)]
    options = EndpointOptions.of(300)
    changes = run(probabilities)
    ends = [change for change in changes if isinstance(change, Ended)]
    for before, after in pairwise(ends):
        assert before.end <= after.begin
        assert not before.cut or before.end == after.begin
    for end in ends:
        assert end.begin <= end.end <= len(probabilities)
        # One that was cut with the very last frame leaves an empty one, in which there is nothing to decode.
        after_cut = any(before.cut and before.end == end.begin for before in ends)
        assert end.begin < end.end or (after_cut and not end.speech_frames and not end.cut)
        assert end.end - end.begin <= options.longest
        assert end.speech_frames <= end.end - end.begin
    inside = {frame for end in ends for frame in range(end.begin, end.end)}
    loud = [frame for frame, probability in enumerate(probabilities) if probability >= 0.5]
    for frame in loud:
        alone = frame - 1 not in loud and frame + 1 not in loud
        assert frame in inside or alone
    for change in changes:  # what stands after a look is in front of any later cut
        if isinstance(change, Look):
            assert any(end.begin < change.end for end in ends)


@given(st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), max_size=1500))
def test_what_two_looks_heard_is_in_front_of_the_cut(probabilities):
    previous = last = None
    for change in run(probabilities):
        match change:
            case Look(end):
                previous, last = last, end
            case Ended():
                if change.cut and previous is not None:
                    assert change.end >= previous
                previous = last = None
            case _:
                pass
