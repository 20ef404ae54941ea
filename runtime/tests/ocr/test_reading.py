"""Real engines on pages with known text. Error rates: see `render.normal`; both texts pass through it."""

from __future__ import annotations

import jiwer
import pytest

from steno_runtime.ocr.languages import script

from .render import normal, page, photograph

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2, 3)


def wrong(read, tmp_path, rendered, **options) -> tuple[float, set]:
    """Character error rate over all pages, each an image at 200 dpi, and the engines that read them."""
    truth, seen, engines = [], [], set()
    for number, one in enumerate(rendered):
        path = tmp_path / f"{number}.png"
        one.image.save(path, dpi=(200, 200))
        (only,) = read(path, workers=1, **options).pages
        assert only.error is None, only.error
        truth.append(normal(one.text))
        seen.append(normal(only.text))
        engines.add(only.engine)
    return jiwer.cer(truth, seen), engines


@pytest.fixture(scope="module")
def pages():
    return {language: [page(language, seed) for seed in SEEDS] for language in ("en", "ko")}


@pytest.mark.parametrize(
    ("languages", "engine", "limit"),
    [
        (("en",), "auto", 0.005),
        (("en",), "tesseract", 0.005),
        (("en",), "rapidocr", 0.01),
        (("ko",), "auto", 0.01),
        (("ko", "en"), "auto", 0.02),
        (("ko",), "tesseract", 0.01),
    ],
)
def test_clean_pages(read, tmp_path, pages, languages, engine, limit):  # noqa: PLR0917
    rate, _ = wrong(read, tmp_path, pages[languages[0]], languages=languages, engine=engine)
    print(f"CER {'+'.join(languages)} {engine}: {rate:.4f}")
    assert rate <= limit


def test_an_unknown_language_is_found(read, tmp_path, pages):
    rate, _ = wrong(read, tmp_path, [pages["en"][0], pages["ko"][1]])
    assert rate <= 0.01


def test_photographs_go_to_the_engine_that_tolerates_shadow(read, tmp_path):
    rendered = [photograph("en", seed) for seed in (0, 1)]
    auto, engines = wrong(read, tmp_path, rendered, languages=("en",))
    assert engines == {"rapidocr"}
    assert auto <= 0.02
    korean, engines = wrong(read, tmp_path, [photograph("ko")], languages=("ko",))
    assert engines == {"tesseract"}  # RapidOCR's packaged model has no Hangul
    assert script("ko") == "Hang"
    assert korean <= 0.15


@pytest.mark.parametrize("turned", [90, 180, 270])
@pytest.mark.parametrize("engine", ["tesseract", "rapidocr"])
def test_a_page_on_its_side_or_head_is_read_upright(read, tmp_path, turned, engine):
    one = page("en", 0)
    path = tmp_path / "turned.png"
    one.image.rotate(-turned, expand=True).save(path, dpi=(200, 200))
    (only,) = read(path, languages=("en",), engine=engine).pages
    assert only.rotation == (360 - turned) % 360
    assert jiwer.cer(normal(one.text), normal(only.text)) <= 0.01
    (left, top), (right, low), *_ = only.regions[0].lines[0].polygon
    first = {90: (right - left, low - top), 180: (left - right, 0), 270: (0, top - low)}
    assert {90: low > top, 180: right < left, 270: low < top}[turned], first


def test_korean_beside_english(read, tmp_path):
    from PIL import Image, ImageDraw, ImageFont

    from .render import FONTS, noisy

    lines = [
        "서울의 Kubernetes 사용자 모임은 GPU 12대를 빌렸다.",
        "Northern Works asked $51,750 for the harbour repairs.",
        "참가를 원하는 사람은 미리 이름을 적어 두어야 한다.",
        "Visitors are asked to keep away from the crane.",
    ]
    image = Image.new("RGB", (1000, 320), "white")
    for number, line in enumerate(lines):
        font = ImageFont.truetype(str(FONTS["ko"]), 30)
        ImageDraw.Draw(image).text((40, 40 + 60 * number), line, fill=(10, 10, 10), font=font)
    noisy(image, 0).save(tmp_path / "mixed.png", dpi=(200, 200))
    (only,) = read(tmp_path / "mixed.png", languages=("ko", "en")).pages
    assert jiwer.cer(normal(" ".join(lines)), normal(only.text)) <= 0.03
