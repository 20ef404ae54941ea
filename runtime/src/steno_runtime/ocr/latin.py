"""Which language a text in Latin letters is in, by its commonest words: read as English it has lost its accents.

Separate because it is a table of words, and looks at nothing but a text.
"""

from __future__ import annotations

import re
import unicodedata

_WORDS = {
    "en": "the of and to in is that for it was with as his be at by this have from or not are on which you an were",
    "de": "der die das und den dem ist nicht ein eine von zu mit auf sich des im als auch es an wird bei aus oder sind",
    "es": "el la los las de que y en un una por con para del se es su al lo como mas pero sus este son ha entre cuando",
    "fr": "le la les de des du et un une est dans qui que pour sur pas au par ce il ne se plus avec sont aux cette",
    "it": "il la di che e un una per non del della con si da nel sono alla le gli al dei delle come anche piu ma nella",
    "nl": "de het een van en in is dat op te zijn voor met niet aan er die ook als door naar bij deze wordt uit werd",
    "pl": "w i na z do nie sie jest to o jak po od za przez a ze dla tym byl oraz ktory co tego jego czy przy roku",
    "pt": "o a de que e do da em um para com nao os as uma se na no por dos das ao pelo pela mais foi ser seu sua",
    "tr": "ve bir bu da de icin ile olarak cok daha gibi olan sonra kadar en ne var o ama her mi den dan ki",
}
"""The commonest words of each language of which an image may have Tesseract's data, without accents."""
_COMMON = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_WORD = re.compile(r"[^\W\d_]+")
_FEWEST, _DIFFERENT = 5, 3
"""Common words, and different ones among them, that must be seen."""
_SHARE = 0.15
"""Of all words that are common ones; in prose it is a third."""
_AHEAD = 1.5
"""Times as many as of the next language; related ones share some."""


def latin_language(text: str) -> str | None:
    """Return the language that a text in Latin letters is in (BCP 47), of those in the table; None: it is not clear."""
    words = [_plain(word) for word in _WORD.findall(text.casefold())]
    seen = {language: [word for word in words if word in common] for language, common in _COMMON.items()}
    best, second = sorted(seen, key=lambda language: -len(seen[language]))[:2]
    many = len(seen[best])
    if many < max(_FEWEST, _SHARE * len(words), _AHEAD * len(seen[second])) or len(set(seen[best])) < _DIFFERENT:
        return None
    return best


def _plain(word: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))
