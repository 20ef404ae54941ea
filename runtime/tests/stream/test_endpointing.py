from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from steno_runtime.stream.endpointing import (
    Endpointer,
    EndpointEvent,
    EndpointOptions,
    PossibleEnd,
    SpeechResumed,
    StabilityCheck,
    UtteranceEnded,
    UtteranceStarted,
)

SPEECH, SILENCE = 0.9, 0.1


def run(probabilities, millis=300) -> list[EndpointEvent]:
    endpointer = Endpointer(EndpointOptions.from_millis(millis))
    events = [event for probability in probabilities for event in endpointer.push(probability)]
    return events + endpointer.flush()


def test_speech_between_silences_with_audio_before_and_after_it():
    events = run([SILENCE] * 20 + [SPEECH] * 30 + [SILENCE] * 20)
    assert events == [UtteranceStarted(10, 20), PossibleEnd(55), UtteranceEnded(10, 55, 50, 30)]


def test_one_frame_is_not_speech():
    assert run([SILENCE] * 20 + [SPEECH] + [SILENCE] * 20) == []


def test_a_short_pause_does_not_end_it():
    events = run([SPEECH] * 20 + [SILENCE] * 7 + [SPEECH] * 20 + [SILENCE] * 10)
    assert [type(event) for event in events] == [
        UtteranceStarted,
        PossibleEnd,
        SpeechResumed,
        PossibleEnd,
        UtteranceEnded,
    ]
    assert events[-1] == UtteranceEnded(0, 52, 47, 40)


def test_the_silence_that_ends_an_utterance_is_an_option():
    probabilities = [SPEECH] * 20 + [SILENCE] * 7 + [SPEECH] * 20 + [SILENCE] * 10
    assert sum(isinstance(event, UtteranceEnded) for event in run(probabilities, 130)) == 2
    assert sum(isinstance(event, UtteranceEnded) for event in run(probabilities, 5000)) == 1


def test_a_short_utterance_ends_after_a_longer_silence():
    """300 ms are ten frames of silence, five thirds of which are sixteen."""

    def count(speech: int, silence: int) -> int:
        probabilities = [SPEECH] * speech + [SILENCE] * silence + [SPEECH] * 20 + [SILENCE] * 20
        return sum(isinstance(event, UtteranceEnded) for event in run(probabilities))

    assert (count(60, 15), count(60, 16)) == (1, 2)
    assert (count(300, 9), count(300, 10)) == (1, 2)


def test_a_very_short_silence_takes_no_audio_not_pushed_yet():
    ended = run([SPEECH] * 20 + [SILENCE] * 20, 50)[-1]
    assert ended == UtteranceEnded(0, 23, 20, 20)


def test_flush_ends_what_is_open():
    assert run([SPEECH] * 20)[-1] == UtteranceEnded(0, 20, 20, 20)
    assert Endpointer(EndpointOptions.from_millis(300)).flush() == []


def test_long_speech_is_cut_at_its_longest_pause_and_goes_on():
    options = EndpointOptions.from_millis(300)
    probabilities = [SPEECH] * 400 + [SILENCE] * 3 + [SPEECH] * 60 + [SILENCE] * 6 + [SPEECH] * 500 + [SILENCE] * 10
    events = run(probabilities)
    ends = [event for event in events if isinstance(event, UtteranceEnded)]
    assert ends[0].cut
    assert 463 <= ends[0].end <= 469
    assert ends[1].begin == ends[0].end
    assert sum(isinstance(event, UtteranceStarted) for event in events) == 1
    assert all(end.end - end.begin <= options.max_frames for end in ends)


def test_an_utterance_that_is_full_in_a_pause_just_ends():
    events = run([SPEECH] * 500 + [SILENCE] * 100, 5000)
    assert events[-1] == UtteranceEnded(0, 505, 500, 500)


def test_stability_checks_come_every_few_seconds_and_leave_room_for_the_cut():
    events = run([SPEECH] * 531)
    checks = [event.end for event in events if isinstance(event, StabilityCheck)]
    assert checks == [62, 156, 250, 344]


@example([(0.6, 33), (0.4, 300), (0.6, 198), (0.4, 33), (0.4, 300)])
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.4, 0.6, 1.0]), st.integers(1, 300)), max_size=12))
def test_utterances_do_not_overlap_are_not_too_long_and_no_speech_is_lost(runs):
    probabilities = [probability for probability, count in runs for _ in range(count)]
    options = EndpointOptions.from_millis(300)
    events = run(probabilities)
    ends = [event for event in events if isinstance(event, UtteranceEnded)]
    for before, after in pairwise(ends):
        assert before.end <= after.begin
        assert not before.cut or before.end == after.begin
    for end in ends:
        assert end.begin <= end.end <= len(probabilities)
        # One that was cut with the very last frame leaves an empty one, in which there is nothing to decode.
        after_cut = any(before.cut and before.end == end.begin for before in ends)
        assert end.begin < end.end or (after_cut and not end.speech_frames and not end.cut)
        assert end.end - end.begin <= options.max_frames
        assert end.speech_frames <= end.end - end.begin
    inside = {frame for end in ends for frame in range(end.begin, end.end)}
    loud = [frame for frame, probability in enumerate(probabilities) if probability >= 0.5]
    for frame in loud:
        alone = frame - 1 not in loud and frame + 1 not in loud
        assert frame in inside or alone
    for event in events:  # what is stable after a check lies before any later cut
        if isinstance(event, StabilityCheck):
            assert any(end.begin < event.end for end in ends)


@given(st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), max_size=1500))
def test_audio_of_two_stability_checks_lies_before_the_cut(probabilities):
    previous = last = None
    for event in run(probabilities):
        match event:
            case StabilityCheck(end):
                previous, last = last, end
            case UtteranceEnded():
                if event.cut and previous is not None:
                    assert event.end >= previous
                previous = last = None
            case _:
                pass
