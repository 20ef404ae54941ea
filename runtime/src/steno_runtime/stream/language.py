"""Language of a session: requested, or detected and then kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping

MIN_PROBABILITY = 0.6
"""A language at least this probable is kept for the session."""
MAX_DETECTIONS = 6
"""After these, the language with the most votes is kept: the speech mixes languages, or the model hardly knows it."""
MIN_SECONDS = 1.0
"""Shorter audio decides only for its utterance."""


class LanguageChoice:
    """The language so far.

    Args:
        language: ISO 639 code, or `auto`.
        known: codes of the languages that the model knows.
    """

    def __init__(self, language: str, known: frozenset[str]) -> None:
        requested = next(iter(known)) if language == "auto" and len(known) == 1 else language
        self._language = None if requested == "auto" else requested
        self._decided = self._language is not None
        self._votes: dict[str, float] = {}
        self._detections = 0

    @property
    def language(self) -> str | None:
        """The likeliest; None before the first detection."""
        return self._language

    @property
    def decided(self) -> bool:
        """Whether the language is kept for the rest of the session."""
        return self._decided

    def add_detection(self, probabilities: Mapping[str, float], seconds: float) -> None:
        """Take a detection into account.

        Args:
            probabilities: of each language, from the model.
            seconds: length of the audio that they are about.
        """
        if self._decided or not probabilities:
            return
        best = max(probabilities, key=lambda language: (probabilities[language], language))
        for language, probability in probabilities.items():
            self._votes[language] = self._votes.get(language, 0.0) + probability * seconds
        self._language = best
        if seconds < MIN_SECONDS:
            return
        self._detections += 1
        if probabilities[best] >= MIN_PROBABILITY:
            self._decided = True
        elif self._detections >= MAX_DETECTIONS:
            self._language = max(self._votes, key=lambda language: (self._votes[language], language))
            self._decided = True
