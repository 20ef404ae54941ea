"""Review of a transcription: speech that no word covers, text that was dropped, and what is doubtful. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import Chunk, Span
from steno_runtime.stt.engine import Decoded, TimedWord, hallucinated

UNCOVERED_SECONDS = 1.5
"""Speech of this length without a word is decoded again: shorter stretches are breaths, laughs and drawn vowels."""
WORD_MARGIN_SECONDS = 0.3
"""How far the times of a word may be off."""
WORD_CONFIDENCE = 0.65
"""Mean probability of the words below which a transcript as a whole is doubtful. With that of stretches it names 21 of
23 recordings of the corpus's even half, as they are or with noise or an echo, of which 40 % of the words or more are
wrong, and none of the 36 of which less than 20 % are."""
STRETCH_WORDS = 6
STRETCH_CONFIDENCE = 0.5
"""Mean probability of so many words in a row below which they are doubtful."""


@dataclass(frozen=True)
class StretchWarning:
    """A warning about a stretch of the audio, which is phrased last: the channels of a recording are moved in time.

    Attributes:
        reason: see `ResultWarning`.
        what: the message, between the place and the full stop.
        start: seconds of the audio, or of the channel.
        end: likewise.
        speaker: the channel, where each is a speaker.
    """

    reason: WarningReason
    what: str
    start: float
    end: float
    speaker: str | None = None

    @classmethod
    def about(cls, span: Span, reason: WarningReason, what: str) -> StretchWarning:
        """Return a warning about a span of samples; see the attributes."""
        return cls(reason, what, round(span.start / SAMPLE_RATE, 2), round(span.end / SAMPLE_RATE, 2))

    @property
    def message(self) -> str:
        """Return the message, with the place."""
        where = "" if self.speaker is None else f"{self.speaker}: "
        return f"{where}From {self.start:.1f} to {self.end:.1f} s {self.what}."

    def phrase(self) -> ResultWarning:
        """Return the warning as documents have it."""
        return ResultWarning(reason=self.reason, message=self.message, start=self.start, end=self.end)


def is_hallucinated(chunk: Chunk, decoded: Decoded) -> bool:
    """Return whether a chunk's text was probably made up, and should be dropped; see `hallucinated`."""
    return hallucinated(decoded, chunk.window_seconds, chunk.speech_seconds, doubtful=chunk.is_doubtful)


def uncovered_speech(spans: Iterable[Span], words: Sequence[TimedWord]) -> list[Span]:
    """Return the stretches of speech of at least `UNCOVERED_SECONDS` that no word covers.

    Args:
        spans: speech, in samples of the audio, sorted.
        words: in seconds of the audio, sorted by their start.
    """
    margin = int(WORD_MARGIN_SECONDS * SAMPLE_RATE)
    covered = [
        (int(word.start * SAMPLE_RATE) - margin, int(word.end * SAMPLE_RATE) + margin)
        for word in sorted(words, key=lambda word: word.start)
    ]
    found: list[Span] = []
    first = 0
    for span in spans:
        position = span.start
        while first < len(covered) and covered[first][1] <= span.start:
            first += 1
        for begin, end in covered[first:]:
            if begin >= span.end:
                break
            if begin > position:
                found.append(Span(position, begin))
            position = max(position, end)
        if position < span.end:
            found.append(Span(position, span.end))
    return [gap for gap in found if gap.seconds >= UNCOVERED_SECONDS]


def words_within(words: Iterable[TimedWord], span: Span) -> list[TimedWord]:
    """Return the words whose middle is in a span; words in seconds of the audio."""
    start, end = span.start / SAMPLE_RATE, span.end / SAMPLE_RATE
    return [word for word in words if start <= (word.start + word.end) / 2 < end]


def describe_dropped(spans: Iterable[Span]) -> list[StretchWarning]:
    """Return a warning for each window whose text was left out as invented."""
    what = "the text was left out, since it was probably invented over noise or music"
    return [StretchWarning.about(span, WarningReason.TEXT_DROPPED, what) for span in spans]


def describe_undecoded(spans: Iterable[Span]) -> list[StretchWarning]:
    """Return a warning for each stretch of speech without text."""
    what = "something like speech has no text, even after a second attempt"
    return [StretchWarning.about(span, WarningReason.SPEECH_NOT_DECODED, what) for span in spans]


def describe_text(words: Sequence[TimedWord], *, named: bool, silent: bool) -> Sequence[ResultWarning | StretchWarning]:
    """Return a warning if there is no text, or if the recognizer doubts it: all of it, or stretches.

    Args:
        words: all of the transcript.
        named: whether what sounded like speech has warnings of its own.
        silent: whether the audio is known to be silent.
    """
    if not words:
        if named or silent:
            return []
        message = "No speech was found in the audio, so that the transcript is empty."
        return [ResultWarning(reason=WarningReason.NO_SPEECH, message=message)]
    mean = sum(word.probability for word in words) / len(words)
    if mean >= WORD_CONFIDENCE:
        return _doubtful_stretches(words)
    message = (
        f"The recognizer doubts its text (confidence {mean:.2f}): check the recording, the language and the model."
    )
    return [ResultWarning(reason=WarningReason.LOW_CONFIDENCE, message=message)]


def _doubtful_stretches(words: Sequence[TimedWord]) -> list[StretchWarning]:
    found: list[list[TimedWord]] = []
    last = 0  # of the words, how many are before the end of the last stretch
    for first in range(len(words) - STRETCH_WORDS + 1):
        row = words[first : first + STRETCH_WORDS]
        if sum(word.probability for word in row) >= STRETCH_CONFIDENCE * STRETCH_WORDS:
            continue
        if found and first <= last:
            found[-1] += words[last : first + STRETCH_WORDS]
        else:
            found.append(list(row))
        last = first + STRETCH_WORDS
    what = "the recognizer doubts its text: check it with the recording"
    return [
        StretchWarning(WarningReason.LOW_CONFIDENCE, what, round(row[0].start, 2), round(row[-1].end, 2))
        for row in found
    ]


def describe_speakers(words: int, speakers: int, min_speakers: int | None) -> list[ResultWarning]:
    """Return a warning if speakers were asked for, and none or too few were found.

    Args:
        words: number of words.
        speakers: number of speakers that have a word.
        min_speakers: at least this many were asked for, if known.
    """
    if not words or speakers >= (min_speakers or 1):
        return []
    if speakers == 0:
        message = "No speaker was found: the speech is too short or too quiet for it. The words have no speaker."
    else:
        message = (
            f"{speakers} of at least {min_speakers} speakers {'was' if speakers == 1 else 'were'} found: the others say"
            " too little to be distinguished, or are not there."
        )
    return [ResultWarning(reason=WarningReason.SPEAKERS_UNCERTAIN, message=message)]
