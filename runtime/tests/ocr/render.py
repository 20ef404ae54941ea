"""Pages with known text: A4 at 200 dpi, light noise, every second one turned by one degree."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, DPI = 1654, 2339, 200
_FONTS = Path("/usr/share/fonts/truetype")
FONTS = {"en": _FONTS / "dejavu/DejaVuSerif.ttf", "ko": _FONTS / "nanum/NanumGothic.ttf"}

_ENGLISH = """The committee met on Tuesday, 14 March 2023, to review the harbour repairs. Costs had risen by 12.5%
since January, mainly because the price of steel doubled. "We cannot wait another winter," said the
engineer; the eastern pier carries 340 tonnes each day. Three offers were opened: Baker & Sons asked
$48,200, Northern Works $51,750, and the smallest firm only $39,900. After a long discussion the members
chose the second offer, since it promised to finish in six weeks. Fishing boats may use the western quay
until then. The keeper of the lighthouse reported that fog had stopped traffic on nine mornings. A new
horn will be tested in April. Visitors are asked to keep away from the crane, which moves without
warning. Questions can be sent to the harbour office, room 27, between eight and noon. Every family
received a map that shows the closed streets, the bridges and the two temporary ferries. The next
meeting takes place on the first of May."""

_KOREAN = """위원회는 화요일에 모여 항구 수리 계획을 검토하였다. 올해 들어 철강 가격이 크게 올라 비용이 많이
늘어났다. 기술자는 겨울이 오기 전에 공사를 마쳐야 한다고 말했다. 동쪽 부두에는 매일 많은 화물이
들어온다. 세 회사가 제안서를 냈고 위원들은 오랜 토론 끝에 두 번째 회사를 골랐다. 그때까지 어선은
서쪽 부두를 사용할 수 있다. 등대지기는 안개 때문에 아침마다 배가 멈추었다고 보고하였다. 새로운 경적은
사월에 시험할 예정이다. 방문객은 기중기 가까이에 가지 말아야 한다. 궁금한 점은 항구 사무실로 문의하면
된다. 모든 가정은 막힌 길과 다리와 임시 나룻배가 표시된 지도를 받았다. 다음 회의는 오월 첫째 날에
열린다. 도서관은 여름 동안 저녁 늦게까지 문을 열고 어린이를 위한 책 읽기 모임을 마련한다. 참가를
원하는 사람은 미리 이름을 적어 두어야 한다."""

SENTENCES = {
    "en": [s.strip() for s in _ENGLISH.replace("\n", " ").split(". ")],
    "ko": [s.strip() for s in _KOREAN.replace("\n", " ").split(". ")],
}


@dataclass(frozen=True)
class Rendered:
    """An RGB page and the text on it."""

    image: Image.Image
    text: str


def prose(language: str, seed: int, sentences: int) -> str:
    """Return sentences in an order that depends on the seed."""
    order = np.random.default_rng(seed).permutation(np.arange(sentences) % len(SENTENCES[language]))
    return ". ".join(SENTENCES[language][i].rstrip(".") for i in order) + "."


def wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Breaks `text` at spaces into lines of at most `width` pixels."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if font.getlength(longer) > width and line:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def normal(text: str) -> str:
    """What character error rates compare: NFC, each run of white space one space. Spaces count."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def noisy(image: Image.Image, seed: int, sigma: float = 6.0) -> Image.Image:
    """Add the noise of a scanner."""
    noise = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def page(language: str, seed: int = 0, *, sentences: int = 22, skewed: bool | None = None, size: int = 30) -> Rendered:
    """Renders one page of prose in paragraphs; odd seeds are skewed by one degree."""
    font = ImageFont.truetype(str(FONTS[language]), size)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    text, y = [], 180
    words = prose(language, seed, sentences).split(". ")
    for start in range(0, len(words), 4):
        paragraph = ". ".join(words[start : start + 4]).rstrip(".") + "."
        for line in wrap(paragraph, font, WIDTH - 360):
            if y > HEIGHT - 220:
                break
            draw.text((180, y), line, fill=(20, 20, 20), font=font)
            text.append(line)
            y += int(size * 1.55)
        y += size
    if skewed if skewed is not None else seed % 2 == 1:
        image = image.rotate(1.0, Image.Resampling.BICUBIC, fillcolor="white")
    return Rendered(noisy(image, seed), " ".join(text))


def photograph(language: str, seed: int = 0) -> Rendered:
    """A page as a hand-held camera sees it: perspective, a shadow across, warm light, blur and a table around it."""
    source = page(language, seed, sentences=10, skewed=False, size=38)
    rng = np.random.default_rng(seed + 99)
    sheet = source.image.crop((100, 120, WIDTH - 100, 1500))
    w, h = sheet.size
    table = rng.normal(0, 1, (56, 48, 3)).cumsum(axis=1) * 6 + np.array([110, 80, 60])
    scene = Image.fromarray(np.clip(table, 30, 190).astype(np.uint8)).resize(
        (w + 300, h + 300), Image.Resampling.BICUBIC
    )
    corners = (-40, -60, -160, h + 90, w + 70, h + 150, w + 130, -110)
    bent = sheet.transform((w, h), Image.Transform.QUAD, corners, Image.Resampling.BICUBIC, fillcolor=(255, 0, 255))
    mask = Image.fromarray(~np.all(np.abs(np.asarray(bent).astype(int) - (255, 0, 255)) < 60, axis=2))
    scene.paste(bent, (150, 150), mask)
    pixels = np.asarray(scene).astype(float)
    gx, gy = np.meshgrid(np.linspace(0, 1, scene.width), np.linspace(0, 1, scene.height))
    light = 0.35 + 0.6 * (1 - gx * 0.7 - gy * 0.3)
    shade = np.where(gx + 0.4 * gy > 0.75, 0.6, 1.0)
    lit = pixels * (light * shade)[..., None] * np.array([1.0, 0.93, 0.8])
    return Rendered(noisy(Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8)), seed, 5), source.text)
