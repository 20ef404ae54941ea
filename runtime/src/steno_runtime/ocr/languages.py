"""Languages as users write them (BCP 47), the scripts they are written in, and Tesseract's names for them."""

from __future__ import annotations

from collections.abc import Sequence

_TESSERACT = {
    "af": "afr", "am": "amh", "ar": "ara", "as": "asm", "az": "aze", "az-cyrl": "aze_cyrl", "be": "bel", "bg": "bul",
    "bn": "ben", "bs": "bos", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan", "de": "deu", "de-latf": "frk",
    "el": "ell", "en": "eng", "eo": "epo", "es": "spa", "et": "est", "eu": "eus", "fa": "fas", "fi": "fin",
    "fil": "fil", "fr": "fra", "ga": "gle", "gl": "glg", "gu": "guj", "he": "heb", "hi": "hin", "hr": "hrv",
    "hu": "hun", "hy": "hye", "id": "ind", "is": "isl", "it": "ita", "ja": "jpn", "ka": "kat", "kk": "kaz",
    "km": "khm", "kn": "kan", "ko": "kor", "ky": "kir", "la": "lat", "lb": "ltz", "lo": "lao", "lt": "lit",
    "lv": "lav", "mi": "mri", "mk": "mkd", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa", "mt": "mlt",
    "my": "mya", "nb": "nor", "ne": "nep", "nl": "nld", "nn": "nor", "no": "nor", "oc": "oci", "or": "ori",
    "pa": "pan", "pl": "pol", "pt": "por", "qu": "que", "ro": "ron", "ru": "rus", "sa": "san", "si": "sin",
    "sk": "slk", "sl": "slv", "sq": "sqi", "sr": "srp", "sr-latn": "srp_latn", "sv": "swe", "sw": "swa", "ta": "tam",
    "te": "tel", "th": "tha", "tl": "tgl", "tr": "tur", "uk": "ukr", "ur": "urd", "uz": "uzb", "uz-cyrl": "uzb_cyrl",
    "vi": "vie", "zh": "chi_sim", "zh-cn": "chi_sim", "zh-hans": "chi_sim", "zh-hant": "chi_tra", "zh-hk": "chi_tra",
    "zh-mo": "chi_tra", "zh-tw": "chi_tra",
}  # fmt: skip
LANGUAGES = frozenset(_TESSERACT)
_ALIASES = {name.replace("_", "-"): tag for tag, name in reversed(_TESSERACT.items())} | {
    "cmn": "zh", "deu-latf": "de-latf", "iw": "he", "nor": "no", "yue": "zh-hant",
}  # fmt: skip
"""Tesseract's names, most of them ISO 639-2, and others, with a hyphen for the underscore."""
UNWRITTEN = {"de-latf": "de"}
"""Languages in letters that only Tesseract's data of their own has, and what to read them as where that is missing."""

_SCRIPTS = {
    "Hang": "ko", "Hani": "zh zh-cn zh-hans zh-hant zh-hk zh-mo zh-tw", "Jpan": "ja", "Latf": "de-latf",
    "Cyrl": "az-cyrl be bg kk ky mk mn ru sr uk uz-cyrl",
    "Arab": "ar fa ur", "Deva": "hi mr ne sa", "Grek": "el", "Hebr": "he", "Thai": "th", "Armn": "hy", "Geor": "ka",
    "Beng": "as bn", "Ethi": "am", "Gujr": "gu", "Guru": "pa", "Khmr": "km", "Knda": "kn", "Laoo": "lo", "Mlym": "ml",
    "Mymr": "my", "Orya": "or", "Sinh": "si", "Taml": "ta", "Telu": "te",
}  # fmt: skip
_SCRIPT_OF = {language: script for script, languages in _SCRIPTS.items() for language in languages.split()}
_PARTS = {"Jpan": {"hani", "hira", "hrkt", "kana"}, "Hang": {"hani", "jamo", "kore"}, "Arab": {"aran"}}
"""Scripts that are read with another one."""
_VERTICAL = "vert"
"""What Tesseract's names of vertical writing end with. Columns are found without it."""

OSD_SCRIPTS = {
    "Latin": "en", "Hangul": "ko", "Korean": "ko", "Han": "zh", "Japanese": "ja", "Katakana": "ja", "Hiragana": "ja",
    "Cyrillic": "ru", "Arabic": "ar", "Devanagari": "hi", "Greek": "el", "Hebrew": "he", "Thai": "th", "Bengali": "bn",
    "Tamil": "ta", "Telugu": "te", "Armenian": "hy", "Georgian": "ka", "Fraktur": "de-Latf",
}  # fmt: skip
"""The language to read a page as when its script is all that is known."""

_SHARED = {
    "Cyrl": frozenset("АВЕКМНОРСТУХІЈЅаеорсухіјѕ"),  # noqa: RUF001
    "Grek": frozenset("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"),  # noqa: RUF001
    "Latn": frozenset("ABEKMHOPCTYXaeopcyx"),
}  # fmt: skip
"""Letters of an alphabet that look like others: Cyrillic and Greek like Latin, and Latin like Cyrillic."""
_LIKELY = 0.8
"""Share of such letters; in Russian prose it is less than half."""
_KANA = 0.1
"""Share of kana among Han letters and kana above which a text is Japanese; some look like Han letters."""
_OTHER = {"Cyrl": "en", "Grek": "en", "Latn": "ru"}


def normalize_language(language: str) -> str | None:
    """Return the tag of `language` in `LANGUAGES` (`en-GB` is `en`, `jpn_vert` is `ja`); None if it is not known."""
    return _split(language)[0]


def ignored_script(language: str) -> str | None:
    """Return the script of a known language's tag that it is not read in, as `Cyrl` of `ro-Cyrl`; None: it is."""
    known, others = _split(language)
    if known is None:
        return None
    own = script(known)
    read = {own.lower(), _VERTICAL} | _PARTS.get(own, set())
    return next((part.title() for part in others if len(part) == 4 and part.isalpha() and part not in read), None)


def bcp47(known: str) -> str:
    """Return a tag of `LANGUAGES` with its capitals: `zh-hant` is `zh-Hant`, `zh-tw` is `zh-TW`."""
    language, *others = known.split("-")
    return "-".join([language, *(part.title() if len(part) == 4 else part.upper() for part in others)])


def _split(language: str) -> tuple[str | None, list[str]]:
    """Return the longest tag of `LANGUAGES` that a tag begins with, and what it has beyond that."""
    parts = language.strip().lower().replace("_", "-").split("-")
    for length in (2, 1):
        if (alias := _ALIASES.get("-".join(parts[:length]))) is not None:
            parts = [*alias.split("-"), *parts[length:]]
            break
    for length in (2, 1):
        if (tag := "-".join(parts[:length])) in _TESSERACT:
            return tag, parts[length:]
    return None, parts


def script(language: str) -> str:
    """Return the ISO 15924 script of a known language."""
    return _SCRIPT_OF.get(normalize_language(language) or language, "Latn")


def tesseract_names(languages: Sequence[str]) -> list[str]:
    """Return Tesseract's names of `languages`, in order, each once."""
    return list(dict.fromkeys(_TESSERACT[key] for language in languages if (key := normalize_language(language))))


def may_be_in(text: str, language: str) -> str | None:
    """Return another language whose alphabet has the same shapes; None if some letters exist in this one only.

    Args:
        text: as it was read.
        language: BCP 47, that it was read in.
    """
    alphabet = script(language)
    letters = [letter for letter in text if letter.isalpha()]
    if alphabet not in _SHARED or not letters:
        return None
    shared = sum(letter in _SHARED[alphabet] for letter in letters)
    return _OTHER[alphabet] if shared >= _LIKELY * len(letters) else None


def language_of(text: str, language: str) -> str:
    """Return the language of a text that was read in Latin, Chinese and Japanese letters at once.

    Args:
        text: as it was read.
        language: BCP 47, that it was thought to be in; it stays where the text is in its script.
    """
    letters = [letter for letter in text if letter.isalpha()]
    kana = sum("\u3041" <= letter <= "\u30ff" for letter in letters)
    ideographs = kana + sum("\u3400" <= letter <= "\u9fff" for letter in letters)
    if 2 * ideographs <= len(letters):
        return "en" if script(language) in ("Hani", "Jpan") and letters else language
    if kana > _KANA * ideographs:
        return "ja"
    return language if script(language) in ("Hani", "Jpan") else "zh"
