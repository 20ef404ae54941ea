"""Languages of pages as people write them: what is read, and a warning where that is not what was asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.pages import EngineName
from steno_api.documents.warnings import WarningReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.languages import (
    LANGUAGES,
    OSD_SCRIPTS,
    bcp47,
    ignored_script,
    normalize_language,
    tesseract_names,
)
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


def read(image: Path, scratch: Path, *languages: str, engine: EngineName = "auto") -> RecognitionResult:
    options = RecognitionOptions(languages=languages, engine=engine, workers=1, sandboxed=False)
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
    result = read(page, tmp_path, given_tag, engine="rapidocr")
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


@pytest.mark.parametrize(("data", "read_as"), [(("frk", "osd"), "de-Latf"), (("eng", "osd"), "de")])
def test_old_german_print_is_recognized_and_its_data_named_where_it_is_missing(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[str, ...], read_as: str
):
    from steno_runtime.ocr.engines.tesseract import TesseractEngine, tessdata

    installed = tessdata()
    assert installed is not None
    folder = tmp_path / "tessdata"
    folder.mkdir()
    for name in data:
        (folder / f"{name}.traineddata").symlink_to(installed / f"{'eng' if name == 'frk' else name}.traineddata")
    monkeypatch.setenv("TESSDATA_PREFIX", str(folder))
    monkeypatch.setattr(TesseractEngine, "orientation", lambda *_: (0, OSD_SCRIPTS["Fraktur"]))
    result = read(page, tmp_path)
    assert [page.languages for page in result.pages] == [(read_as,)]
    messages = [one.message for one in result.warnings if one.reason is WarningReason.LANGUAGE_UNCERTAIN]
    assert [("de-Latf" in message, "data for frk" in message) for message in messages] == [(True, True)] * (
        read_as == "de"
    )


def test_the_image_has_data_of_known_languages_and_of_every_script_that_is_recognized():
    dockerfile = Path(__file__).parents[3] / "build/images/runtime/Dockerfile"
    installed = {name.replace("-", "_") for name in re.findall(r"tesseract-ocr-([a-z-]+)", dockerfile.read_text())}
    assert installed <= set(tesseract_names(sorted(LANGUAGES)))
    assert "frk" in installed
    assert installed >= set(tesseract_names(["ko", "zh", "ja", "ru", "ar", "hi", "el", "he", "th", "ta"]))


def test_an_unknown_language_is_refused(page: Path, tmp_path: Path):
    with pytest.raises(WorkError, match="not known"):
        read(page, tmp_path, "tlh")
