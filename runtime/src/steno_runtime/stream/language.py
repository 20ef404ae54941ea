"""Language of a session: requested, or detected, and followed when it changes. Pure.

As in `stt.language_changes`, a change must be clear, or last; but finals that were sent stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from steno_runtime.stt.engine import CLEAR_PROBABILITY, CLEAR_SECONDS, AutoLanguage, likeliest

MIN_PROBABILITY = 0.6
"""A language at least this probable begins a session; and another one in two utterances in a row is a change."""
MAX_DETECTIONS = 6
"""After these, a session begins with the likeliest of all: its speech mixes languages, or the model hardly knows it."""
MIN_SECONDS = 1.0
"""Shorter audio decides only for its utterance."""
MIN_CHANGE_SECONDS = 2.0
"""Shorter utterances are in the language of the conversation."""


class LanguageChoice:
    """The language so far.

    Args:
        language: ISO 639 code, or `auto`.
        known: codes of the languages that the model knows.
        allowed: codes to choose from; empty: all that the model knows.
    """

    def __init__(self, language: str, known: frozenset[str], allowed: Collection[str] = ()) -> None:
        candidates = frozenset(allowed) or known
        requested = next(iter(candidates)) if language == "auto" and len(candidates) == 1 else language
        self._auto = AutoLanguage(allowed=frozenset(allowed))
        self._language = None if requested == "auto" else requested
        self._fixed = self._decided = self._language is not None
        self._votes: dict[str, float] = {}
        self._detections = 0
        self._next: str | None = None
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._certain_seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def language(self) -> str | None:
        """The present one; None before the first detection."""
        return self._language

    @property
    def main_language(self) -> str | None:
        """The one that most speech was in, or the present one before any was."""
        return likeliest(self._seconds) if self._seconds else self._language

    @property
    def main_confidence(self) -> float:
        """Mean probability of the main language where it was spoken; 1 where it was requested."""
        main = self.main_language
        if self._fixed or main is None or not self._seconds:
            return 1.0
        return self._certain_seconds[main] / self._seconds[main]

    @property
    def decided(self) -> bool:
        """Whether the session's language is known; it may change."""
        return self._decided

    @property
    def to_decode(self) -> str | AutoLanguage:
        """What to decode a window in, so that a change is noticed."""
        if self._fixed or self._language is None:
            return self._language or ""
        return AutoLanguage(self._language, self._auto.allowed)

    def add_detection(self, probabilities: Mapping[str, float], seconds: float) -> None:
        """Take a detection into account, while the language is undecided.

        Args:
            probabilities: of each language, from the model.
            seconds: length of the audio that they are about.
        """
        if self._decided or not probabilities:
            return
        among = self._auto.among(probabilities)
        best = likeliest(among)
        for language, probability in among.items():
            self._votes[language] = self._votes.get(language, 0.0) + probability * seconds
        self._language = best
        if seconds < MIN_SECONDS:
            return
        self._detections += 1
        if among[best] >= MIN_PROBABILITY:
            self._decided = True
        elif self._detections >= MAX_DETECTIONS:
            self._language = likeliest(self._votes)
            self._decided = True

    def hear(self, probabilities: Mapping[str, float], seconds: float) -> str | None:
        """Return the language of an unfinished utterance; None while it may be another one than before.

        Args:
            probabilities: of each language, from the model; empty: it was not asked.
            seconds: length of the audio that they are about.
        """
        if self._fixed or not probabilities or seconds < MIN_CHANGE_SECONDS:
            return self._language
        among = self._auto.among(probabilities)
        best = likeliest(among)
        if best == self._language or among[best] < MIN_PROBABILITY:
            return self._language
        return best if self._is_clear(among[best], seconds) else None

    def follow(self, probabilities: Mapping[str, float], seconds: float) -> str:
        """Return the language of a finished utterance, which is the session's from now on.

        Args:
            probabilities: of each language, from the model; empty: it was not asked.
            seconds: length of the audio that they are about.
        """
        among = self._auto.among(probabilities) if probabilities and not self._fixed else {}
        if among and self._decided and seconds >= MIN_CHANGE_SECONDS:
            best = likeliest(among)
            lasting = best == self._next and among[best] >= MIN_PROBABILITY
            if best != self._language and (lasting or self._is_clear(among[best], seconds)):
                self._language = best
            self._next = best if best != self._language and among[best] >= MIN_PROBABILITY else None
        language = self._language or ""
        self._seconds[language] += seconds
        self._certain_seconds[language] += seconds * among.get(language, 0.0) if among else seconds
        return language

    def _is_clear(self, probability: float, seconds: float) -> bool:
        return probability >= CLEAR_PROBABILITY and seconds >= CLEAR_SECONDS
