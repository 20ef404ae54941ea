"""Languages as people write them (BCP 47), and the codes that Whisper has for them.

Whisper's list has a code that is none of ISO 639 (`jw`), macrolanguages for their members, and no regions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

_WHISPER = {"jv": "jw"}
"""BCP 47 → Whisper, where they differ."""
_BCP47 = {code: tag for tag, code in _WHISPER.items()}
_ALIASES = {
    "arb": "ar", "cmn": "zh", "fil": "tl", "in": "id", "iw": "he", "ji": "yi", "jp": "ja", "jw": "jv", "kr": "ko",
    "mo": "ro", "nb": "no", "nob": "no", "nno": "nn", "pes": "fa", "prs": "fa", "sh": "sr", "swh": "sw", "zsm": "ms",
    "cn": "zh", "ua": "uk", "cz": "cs", "dk": "da", "gr": "el",
}  # fmt: skip
"""Former codes, members of a macrolanguage, and countries that are often written for their language."""
_THREE = {
    "afr": "af", "ara": "ar", "ces": "cs", "dan": "da", "deu": "de", "ell": "el", "eng": "en", "fas": "fa", "fin": "fi",
    "fra": "fr", "heb": "he", "hin": "hi", "hun": "hu", "ind": "id", "ita": "it", "jav": "jv", "jpn": "ja", "kor": "ko",
    "msa": "ms", "nld": "nl", "nor": "no", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "spa": "es", "swe": "sv",
    "tam": "ta", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi", "zho": "zh",
}  # fmt: skip

_SCRIPT = {
    language: script
    for script, languages in {
        "arab": "ar fa ps sd ug ur", "armn": "hy", "beng": "as bn", "cyrl": "ba be bg ky mk ru tg tt uk",
        "deva": "hi mr ne sa", "ethi": "am", "geor": "ka", "grek": "el", "gujr": "gu", "hebr": "he yi",
        "jpan": "ja", "khmr": "km", "knda": "kn", "kore": "ko", "laoo": "lo", "mlym": "ml", "mymr": "my",
        "sinh": "si", "taml": "ta", "telu": "te", "thai": "th", "tibt": "bo",
    }.items()
    for language in languages.split()
}  # fmt: skip
"""What a language is written in that is not written in Latin letters."""
_TWO_SCRIPTS = frozenset({"az", "bs", "kk", "mn", "ms", "pa", "sr", "uz", "yue", "zh"})
"""Languages that Whisper writes in either of two scripts, as it pleases."""

TRANSLATION_LANGUAGE = "en"
"""Whisper translates into no other."""
_NOT_TRANSLATING = ("turbo", "distil", ".en")
"""In the names of models that were not trained to translate: they write what is spoken."""


def require_translation(model: str, known: Collection[str] = ()) -> None:
    """Check that a model translates.

    Args:
        model: its name.
        known: languages that it knows, once it is loaded.

    Raises:
        WorkError: `InvalidSpec`: it does not.
    """
    if any(part in model.lower() for part in _NOT_TRANSLATING) or set(known) == {TRANSLATION_LANGUAGE}:
        message = f"The model {model} does not translate. Choose one such as large-v3, or leave translate out."
        raise WorkError(FailureReason.INVALID_SPEC, message)


def whisper_code(tag: str) -> str:
    """Return Whisper's code of a language that an engine knows."""
    return _WHISPER.get(tag, tag)


def language_tag(code: str) -> str:
    """Return the BCP 47 tag for one of Whisper's codes."""
    return _BCP47.get(code, code)


def match_language(given: str, known: Collection[str]) -> str | None:
    """Return the tag of `known` that is meant by a tag such as `ko-KR`, `zh_Hant`, `EN` or `nb`; None if none is."""
    primary, *rest = given.strip().casefold().replace("_", "-").split("-")
    if primary == "zh" and "yue" in rest:
        primary = "yue"
    for candidate in (primary, _ALIASES.get(primary, ""), _THREE.get(primary, "")):
        if candidate in known:
            return candidate
    return "zh" if primary == "yue" and "zh" in known else None


def require_language(given: str, known: Collection[str], model: str) -> str:
    """Return the tag of `known` that is meant by a tag.

    Args:
        given: as people write it.
        known: what the model knows, and `auto` where that may be given.
        model: its name, for the message.

    Raises:
        WorkError: `InvalidSpec`: the model does not know it.
    """
    found = match_language(given, known)
    if found is None:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"Model {model!r} does not know the language {given!r}; it knows "
            f"{', '.join(sorted(set(known) - {'auto'}))}. Use one of them, or auto.",
        )
    return found


def describe_ignored(given: Iterable[str], known: Collection[str]) -> list[ResultWarning]:
    """Return a warning for each tag that says something that a model cannot be asked for: a script, or Cantonese.

    Args:
        given: as people write them; those that are not known are left out.
        known: what the model knows.
    """
    found: list[str] = []
    for one in given:
        meant = match_language(one, known)
        primary, *rest = one.strip().casefold().replace("_", "-").split("-")
        script = next((part for part in rest if len(part) == 4 and part.isalpha()), None)
        if meant == "zh" and "yue" in (primary, *rest):
            found.append(f"{one} was transcribed as zh: the model does not know Cantonese. Choose one that does.")
        elif meant and script and (meant in _TWO_SCRIPTS or script != _SCRIPT.get(meant, "latn")):
            found.append(f"{one} was transcribed as {meant}: the model chooses the script itself. Check the text.")
    return [ResultWarning(reason=WarningReason.LANGUAGE_UNCERTAIN, message=message) for message in found]


def allowed_languages(given: Iterable[str], known: Collection[str], model: str) -> frozenset[str]:
    """Return the tags of `known` that detection is restricted to; see `require_language`."""
    return frozenset(require_language(one, known, model) for one in given)
