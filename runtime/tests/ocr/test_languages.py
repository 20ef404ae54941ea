"""Languages of pages as people write them: what is read, and a warning where that is not what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.pages import EngineName
from steno_api.documents.warnings import WarningReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.languages import LANGUAGES, bcp47, ignored_script, normalize_language, tesseract_names
from steno_runtime.ocr.pipeline import RecognitionOptions, RecognitionResult, recognize

from .render import FONTS


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("en-GB", "eng"), ("deu", "deu"), ("de-Latf", "frk"), ("de-Latf-AT", "frk"), ("frk", "frk"),
        ("deu_latf", "frk"), ("ja-vert", "jpn"), ("jpn_vert", "jpn"), ("kor_vert", "kor"), ("chi_tra_vert", "chi_tra"),
        ("zh-Hant-HK", "chi_tra"), ("zh_Hant_TW", "chi_tra"), ("zh-MO", "chi_tra"), ("zh-Hans-SG", "chi_sim"),
        ("cmn-Hant", "chi_tra"), ("yue", "chi_tra"), ("sr-Latn-RS", "srp_latn"), ("sr-Cyrl", "srp"),
        ("az-Cyrl", "aze_cyrl"), ("nor", "nor"),
    ],
)  # fmt: skip
def test_a_tag_is_read_with_its_data(tag: str, name: str):
    assert tesseract_names([tag]) == [name]
    assert ignored_script(tag) is None


@pytest.mark.parametrize(("tag", "script"), [("ro-Cyrl", "Cyrl"), ("zh-Latn", "Latn"), ("da-Latf", "Latf")])
def test_a_script_that_is_not_read_is_named(tag: str, script: str):
    assert ignored_script(tag) == script


@pytest.mark.parametrize("tag", ["ja-Jpan", "ja-Hira", "ko-Kore", "en-Latn-US", "ru-Cyrl", "fa-Aran", "de-1901", "xx"])
def test_a_script_that_is_read_is_not_named(tag: str):
    assert ignored_script(tag) is None


@settings(deadline=None)
@given(st.text(max_size=12) | st.sampled_from(sorted(LANGUAGES)))
def test_any_text_is_a_known_language_or_none(text: str):
    known = normalize_language(text)
    assert known is None or normalize_language(bcp47(known)) == known
    assert known == text or text not in LANGUAGES


def read(image: Path, scratch: Path, language: str, engine: EngineName = "auto") -> RecognitionResult:
    options = RecognitionOptions(languages=(language,), engine=engine, workers=1, sandboxed=False)
    return recognize(image, options, scratch=scratch, on_progress=lambda _: None)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.png"
    image = Image.new("L", (1_200, 300), 255)
    ImageDraw.Draw(image).text((60, 100), "The quick brown fox jumps", fill=0, font=ImageFont.truetype(FONTS["en"], 60))
    image.save(path, dpi=(200, 200))
    return path


@pytest.mark.parametrize(("given_tag", "read_as"), [("de-Latf", "de"), ("frk", "de"), ("en-Cyrl", "en")])
def test_a_language_that_is_read_as_another_is_in_the_warnings(
    page: Path, tmp_path: Path, given_tag: str, read_as: str
):
    result = read(page, tmp_path, given_tag, "rapidocr")
    assert result.options.languages == (read_as,)
    warned = [warning for warning in result.warnings if warning.reason is WarningReason.LANGUAGE_UNCERTAIN]
    assert [given_tag in warning.message and read_as in warning.message for warning in warned] == [True]


def test_the_documents_languages_are_bcp_47(page: Path, tmp_path: Path):
    result = read(page, tmp_path, "eng")
    assert [page.languages for page in result.pages] == [("en",)]
    assert not [warning for warning in result.warnings if warning.reason is WarningReason.LANGUAGE_UNCERTAIN]


def test_old_german_print_is_read_with_its_data(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from steno_runtime.ocr.engines.tesseract import tessdata

    installed = tessdata()
    assert installed is not None
    folder = tmp_path / "tessdata"
    folder.mkdir()
    for name in ("frk", "osd"):  # what is in it does not matter
        (folder / f"{name}.traineddata").symlink_to(installed / f"{'eng' if name == 'frk' else name}.traineddata")
    monkeypatch.setenv("TESSDATA_PREFIX", str(folder))
    result = read(page, tmp_path, "de-Latf")
    assert [(page.languages, page.engine) for page in result.pages] == [(("de-Latf",), "tesseract")]
    assert not [warning for warning in result.warnings if warning.reason is WarningReason.LANGUAGE_UNCERTAIN]


def test_an_unknown_language_is_refused(page: Path, tmp_path: Path):
    with pytest.raises(WorkError, match="not known"):
        read(page, tmp_path, "tlh")
