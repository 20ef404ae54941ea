"""Language of each chunk of a recording by the Viterbi algorithm: a change must be clear, or last, to be one.

The evidence is what Whisper makes of each chunk on its own. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.stt.chunks import Chunk, Span
from steno_runtime.stt.engine import (
    NO_SPEECH_THRESHOLD,
    AutoLanguage,
    Decoded,
    likeliest,
)
from steno_runtime.stt.review import StretchWarning, is_hallucinated

CHANGE_COST = 3.0
"""How much likelier another language must be at a change, as a natural logarithm; there and back costs twice that."""
LEAST_PROBABILITY = 0.001
"""No chunk speaks more strongly against a language: Whisper is often too sure of itself."""
FULL_SECONDS = 8.0
"""Speech from which on a chunk's evidence counts in full."""
MIN_SECONDS = 2.5
"""Shorter speech keeps the language around it: its evidence counts very little."""
SHORT_WEIGHT = 0.05
CLEAR_SECONDS, CLEAR_PROBABILITY = 2.0, 0.95
"""Seconds and probability of a language from which on the evidence of a part of a chunk counts in full:
38 such parts of recordings joined in pairs, from the even half of the corpus, were all heard rightly."""
LANGUAGE_CONFIDENCE = 0.6
"""Mean probability of the main language below which it is uncertain."""
DOUBT_PROBABILITY = 0.7
"""Probability from which on another language, heard in one chunk and not followed, is worth a warning."""
SECOND_PROBABILITY = 0.25
"""Probability of a second language in a chunk, or a part that cannot be divided, that may hold both."""
FOREIGN_PROBABILITY = 0.7
"""Mean probability of all languages that are not allowed from which on the right one is probably among them."""
_LITTLE = 0.01
"""Seconds that a chunk without speech counts, so that there is an answer where no chunk has any."""


@dataclass(frozen=True)
class LanguageEvidence:
    """How much speech a chunk has, and the probabilities of its languages.

    Attributes:
        seconds: of speech; 0 where there is probably none.
        probabilities: of the languages that are allowed.
        foreign: probability of all other languages.
        is_part: whether it is a part of a chunk.
    """

    seconds: float
    probabilities: Mapping[str, float]
    foreign: float = 0.0
    is_part: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether it is a part whose language is clear although it is short."""
        probability = max(self.probabilities.values()) * (1 - self.foreign)
        return self.is_part and self.seconds >= CLEAR_SECONDS and probability >= CLEAR_PROBABILITY

    @property
    def weight(self) -> float:
        """How much its evidence counts, 0 to 1."""
        if self.is_clear:
            return 1.0
        share = min(1.0, (self.seconds or _LITTLE) / FULL_SECONDS)
        return share if self.seconds >= MIN_SECONDS else SHORT_WEIGHT * share


def language_evidence(
    chunks: Sequence[Chunk], decoded: Sequence[Decoded], auto: AutoLanguage
) -> list[LanguageEvidence]:
    """Return the evidence of each chunk, from what was decoded in it."""
    evidence: list[LanguageEvidence] = []
    for chunk, row in zip(chunks, decoded, strict=True):
        speech = chunk.speech_seconds
        doubtful = row.no_speech_prob > NO_SPEECH_THRESHOLD or is_hallucinated(chunk, row)
        evidence.append(speech_evidence(0.0 if doubtful else speech, row.languages or {row.language: 1.0}, auto))
    return evidence


def speech_evidence(
    seconds: float, probabilities: Mapping[str, float], auto: AutoLanguage, *, is_part: bool = False
) -> LanguageEvidence:
    """Return the evidence of speech, of the languages that are allowed.

    Args:
        seconds: of speech.
        probabilities: of all languages that the engine knows.
        auto: the languages to choose from.
        is_part: see `LanguageEvidence`.
    """
    foreign = 1 - sum(probabilities.get(language, 0.0) for language in auto.allowed or probabilities)
    return LanguageEvidence(seconds, auto.among(probabilities), max(0.0, foreign), is_part)


def spoken_languages(evidence: Sequence[LanguageEvidence]) -> list[str]:
    """Return the likeliest language of each chunk, all considered."""
    languages = sorted({language for chunk in evidence for language in chunk.probabilities})
    scores = dict.fromkeys(languages, 0.0)
    steps: list[dict[str, str]] = []  # chunk → its language → that of the chunk before
    for chunk in evidence:
        best = likeliest(scores)
        before = {one: one if scores[one] >= scores[best] - CHANGE_COST else best for one in languages}
        steps.append(before)
        scores = {
            one: scores[before[one]] - (0.0 if before[one] == one else CHANGE_COST) + _support(chunk, one)
            for one in languages
        }
    language = likeliest(scores) if scores else ""
    found: list[str] = []
    for before in reversed(steps):
        found.append(language)
        language = before[language]
    return found[::-1]


def main_language(evidence: Sequence[LanguageEvidence], languages: Sequence[str]) -> str:
    """Return the language that most speech is in.

    Args:
        evidence: at least one chunk.
        languages: of the chunks.
    """
    return likeliest(_seconds(evidence, languages))


def describe_languages(
    spans: Sequence[Span], evidence: Sequence[LanguageEvidence], languages: Sequence[str]
) -> Sequence[ResultWarning | StretchWarning]:
    """Return the warnings that the language is uncertain: of all the audio, or of stretches of it.

    Args:
        spans: where the chunks are, in samples.
        evidence: at least one chunk.
        languages: of the chunks.
    """
    main = main_language(evidence, languages)
    own = [(chunk, chunk.seconds or _LITTLE) for chunk, one in zip(evidence, languages, strict=True) if one == main]
    confidence = sum(chunk.probabilities.get(main, 0.0) * seconds for chunk, seconds in own)
    confidence /= sum(seconds for _, seconds in own)
    foreign = sum(chunk.foreign * (chunk.seconds or _LITTLE) for chunk in evidence)
    foreign /= sum(chunk.seconds or _LITTLE for chunk in evidence)
    if foreign > FOREIGN_PROBABILITY:
        message = "What is spoken seems to be in none of the languages that were allowed: check languages."
        return [ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message)]
    if confidence < LANGUAGE_CONFIDENCE:
        return describe_confidence(main, confidence)
    return [
        _doubt(span, language, other)
        for span, chunk, language in zip(spans, evidence, languages, strict=True)
        if (other := _rival(chunk, language)) is not None
    ]


def describe_confidence(language: str, confidence: float) -> list[ResultWarning]:
    """Return a warning if the main language was detected with little confidence (0 to 1)."""
    if confidence >= LANGUAGE_CONFIDENCE:
        return []
    message = f"The language was taken for {language!r} with {confidence:.0%} confidence: set it if that is wrong."
    return [ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message)]


def _rival(chunk: LanguageEvidence, language: str) -> str | None:
    """Return the language that a chunk may be in as well as in its own, wholly or in part."""
    likely = likeliest(chunk.probabilities)
    if likely != language:
        is_doubt = chunk.is_clear or (chunk.seconds >= MIN_SECONDS and chunk.probabilities[likely] >= DOUBT_PROBABILITY)
        return likely if is_doubt else None
    others = {other: probability for other, probability in chunk.probabilities.items() if other != language}
    if not others or chunk.seconds < 2 * CLEAR_SECONDS:
        return None
    second = likeliest(others)
    return second if others[second] >= SECOND_PROBABILITY else None


def _doubt(span: Span, language: str, other: str) -> StretchWarning:
    what = f"the language was taken for {language!r}, and may be {other!r}"
    return StretchWarning.about(span, WarningReason.LANGUAGE_UNCERTAIN, what)


def _seconds(evidence: Sequence[LanguageEvidence], languages: Sequence[str]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for chunk, language in zip(evidence, languages, strict=True):
        seconds[language] = seconds.get(language, 0.0) + (chunk.seconds or _LITTLE)
    return seconds


def _support(chunk: LanguageEvidence, language: str) -> float:
    return chunk.weight * math.log(max(LEAST_PROBABILITY, chunk.probabilities.get(language, 0.0)))
