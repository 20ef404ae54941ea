"""Two small pages with known text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")

PAGES = (
    ("Harbour committee, 14 March 2023", "Costs rose by 12.5% since January.", "Baker & Sons: $48,200"),
    ("Invoice 2024-117", "Two ferries", "Delivery to the eastern pier within six weeks", "Total 1,340.00"),
)


def page(number: int) -> Image.Image:
    """Return a page, with light noise."""
    sheet = Image.new("RGB", (760, 300), "white")
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(PAGES[number]):
        draw.text((30, 20 + 66 * row), line, fill="black", font=ImageFont.truetype(str(_FONT), 26 + 2 * row))
    pixels = np.asarray(sheet).astype(np.int16)
    noise = np.random.default_rng(number).integers(-12, 13, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def document(path: Path, copies: int = 1) -> Path:
    """Write both pages, some times over, as a TIFF."""
    first, *others = [page(number) for _ in range(copies) for number in range(len(PAGES))]
    first.save(path, save_all=True, append_images=others)
    return path
