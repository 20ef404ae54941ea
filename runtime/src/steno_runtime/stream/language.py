"""Which language a session speaks: told, or heard once and kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping

SURE = 0.6
"""A language this probable is kept for the session."""
MOST_TRIES = 6
"""Then the one most often likeliest is kept: somebody mixes languages, or speaks one the model hardly knows."""
LEAST_SECONDS = 1.0
"""Less audio decides for its utterance only."""


class LanguageChoice:
    """The language so far.

    Args:
        language: ISO 639 code, or `auto`.
        known: codes the model knows.
    """

    def __init__(self, language: str, known: frozenset[str]) -> None:
        told = next(iter(known)) if language == "auto" and len(known) == 1 else language
        self._language = None if told == "auto" else told
        self._settled = self._language is not None
        self._votes: dict[str, float] = {}
        self._tries = 0

    @property
    def language(self) -> str | None:
        """The likeliest; None before anything was heard."""
        return self._language

    @property
    def settled(self) -> bool:
        """Whether it is kept."""
        return self._settled

    def hear(self, probabilities: Mapping[str, float], seconds: float) -> None:
        """Takes what the model made of some audio into account."""
        if self._settled or not probabilities:
            return
        best = max(probabilities, key=lambda language: (probabilities[language], language))
        for language, probability in probabilities.items():
            self._votes[language] = self._votes.get(language, 0.0) + probability * seconds
        self._language = best
        if seconds < LEAST_SECONDS:
            return
        self._tries += 1
        if probabilities[best] >= SURE:
            self._settled = True
        elif self._tries >= MOST_TRIES:
            self._language = max(self._votes, key=lambda language: (self._votes[language], language))
            self._settled = True
