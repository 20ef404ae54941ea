"""Which language a text in Latin letters is in, by py3langid: read as English it has lost its accents.

Separate because it loads a model of its own, once in a process, and looks at nothing but a text.
"""

from __future__ import annotations

import re
import threading
from functools import cache
from typing import Any

from steno_runtime.ocr.languages import LANGUAGES, script

_WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+(?:['\u2019][A-Za-z\u00c0-\u024f\u1e00-\u1eff]+)*")
_FEWEST = 8
"""Different words that must be seen: labels and sums of money are in no language."""
_SURE = 0.7
"""Probability of the likeliest language, which the model lowers for short texts; related ones share it."""
_loading = threading.Lock()


def latin_language(text: str) -> str | None:
    """Return the language that a text in Latin letters is in (BCP 47); None: it is not clear."""
    words = _WORD.findall(text.lower())
    if len(set(words)) < _FEWEST:
        return None
    language, probability = _identifier().classify(" ".join(words))
    return str(language) if probability >= _SURE else None


def _identifier() -> Any:
    with _loading:
        return _load()


@cache
def _load() -> Any:
    """Return the identifier of the Latin languages that pages may be in; its model is in the package's wheel."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    latin = {language for language in LANGUAGES if script(language) == "Latn"}
    identifier.set_languages(latin & set(identifier.labels))
    return identifier
