"""Languages as people write them (BCP 47), and the codes that Whisper has for them.

Whisper's list has a code that is none of ISO 639 (`jw`), macrolanguages for their members, and no regions.
"""

from __future__ import annotations

from collections.abc import Collection

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
