"""Text that PDFs carry: lines, hyphens, crop boxes, and what only looks like text."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.ttLib.tables._c_m_a_p import CmapSubtable
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steno_runtime.ocr.assembly import build_page
from steno_runtime.ocr.engines.base import RecognizedLine
from steno_runtime.ocr.geometry import box
from steno_runtime.ocr.markdown import markdown
from steno_runtime.ocr.open import open_source
from steno_runtime.ocr.page import Limits, PageInput
from steno_runtime.ocr.pdf_text import is_readable

from .render import FONTS

Name = pikepdf.Name
HYPHENATED = (
    "The harbour authority was permit-",
    "ted to close the pier until further",
    "notice. The repairs took all of spring",
    "and the tolls were not raised.",
    "Ships waited outside in the mean-",
    "time and nobody complained.",
)


def load(path: Path, number: int = 1) -> PageInput:
    source = open_source(path, Limits(max_pixels=4_000_000), reuse_text=True)
    try:
        return source.load(number)
    finally:
        source.close()


def written(path: Path, lines: tuple[str, ...] | list[str]) -> Path:
    pdf = FPDF(format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    for line in lines:
        pdf.cell(0, 6, line, new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(path))
    return path


def test_o1_a_hyphen_at_a_lines_end_ends_the_line(tmp_path):
    loaded = load(written(tmp_path / "hyphen.pdf", HYPHENATED))
    assert tuple(line.text for line in loaded.embedded) == HYPHENATED
    page = build_page(loaded, loaded.embedded, engine="embedded", reason="")
    assert {region.kind for region in page.regions} == {"paragraph"}
    assert "#" not in markdown(page.regions, " ")
    heights = [line.polygon[3][1] - line.polygon[0][1] for region in page.regions for line in region.lines]
    assert max(heights) < 1.3 * min(heights)


@given(words=st.lists(st.sampled_from(["permit-", "a", "well-known", "x-", "harbour", "-", "end."]), min_size=2))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_o1_no_control_character_is_ever_in_the_text(tmp_path, words):
    lines = [" ".join(words[at : at + 5]) for at in range(0, len(words), 5)]
    text = "\n".join(line.text for line in load(written(tmp_path / "a.pdf", lines)).embedded)
    assert not [letter for letter in text if unicodedata.category(letter) == "Cc" and letter != "\n"]
    assert text.split() == " ".join(lines).split()


def test_o12_only_the_text_within_the_crop_box_counts(tmp_path):
    pdf = FPDF(orientation="landscape", format="A4")
    pdf.add_page()
    pdf.set_font("helvetica", size=11)
    for row in range(10):
        pdf.text(20, 30 + 8 * row, f"LEFT column {row}")
        pdf.text(170, 30 + 8 * row, f"RIGHT column {row}")
    pdf.output(str(tmp_path / "spread.pdf"))
    with pikepdf.open(tmp_path / "spread.pdf") as document:
        document.pages.append(document.pages[0])
        document.pages[0].CropBox = [0, 0, 421, 595]
        document.pages[1].CropBox = [421, 0, 842, 595]
        document.save(tmp_path / "cropped.pdf")
    for number, side in ((1, "LEFT"), (2, "RIGHT")):
        loaded = load(tmp_path / "cropped.pdf", number)
        assert [line.text for line in loaded.embedded] == [f"{side} column {row}" for row in range(10)]
        corners = [corner for line in loaded.embedded for word in line.words for corner in word.quad]
        assert all(0 <= x <= loaded.width and 0 <= y <= loaded.height for x, y in corners)


def symbolic_pdf(path: Path, text: str, *, mapped: bool) -> Path:
    """Write `text` in a font whose codes begin at 33 and mean nothing without a ToUnicode map."""
    font: Any = TTFont(FONTS["en"])
    letters = sorted(set(text))
    subsetter = subset.Subsetter(subset.Options(glyph_names=True, notdef_outline=True))
    subsetter.populate(text=text)
    subsetter.subset(font)
    cmap, codes = font.getBestCmap(), {letter: 33 + at for at, letter in enumerate(letters)}
    table = CmapSubtable.newSubtable(0)
    table.platformID, table.platEncID, table.language = 1, 0, 0
    table.cmap = {code: cmap[ord(letter)] for letter, code in codes.items()}
    font["cmap"].tables = [table]
    program = io.BytesIO()
    font.save(program)
    scale = 1000 / font["head"].unitsPerEm
    widths = [round(font["hmtx"][cmap[ord(letter)]][0] * scale) for letter in letters]
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        descriptor = pikepdf.Dictionary(
            Type=Name.FontDescriptor, FontName=Name("/AAAAAA+Odd"), Flags=4, FontBBox=[0, -250, 1000, 900],
            ItalicAngle=0, Ascent=900, Descent=-250, CapHeight=700, StemV=80,
            FontFile2=pdf.make_stream(program.getvalue()),
        )  # fmt: skip
        made = pikepdf.Dictionary(
            Type=Name.Font, Subtype=Name.TrueType, BaseFont=Name("/AAAAAA+Odd"), FirstChar=33,
            LastChar=32 + len(letters), Widths=widths, FontDescriptor=pdf.make_indirect(descriptor),
        )  # fmt: skip
        if mapped:
            pairs = "".join(f"<{code:02x}> <{ord(letter):04x}>\n" for letter, code in codes.items())
            made.ToUnicode = pdf.make_stream(
                (
                    "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /A def /CMapType 2 def\n"
                    f"1 begincodespacerange <00> <ff> endcodespacerange {len(codes)} beginbfchar\n{pairs}endbfchar\n"
                    "endcmap end end"
                ).encode()
            )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=pdf.make_indirect(made)))
        shown = b"".join(
            b"BT /F 12 Tf 60 %d Td <%s> Tj ET\n"
            % (760 - 20 * row, bytes(codes[letter] for letter in line).hex().encode())
            for row, line in enumerate(text.split("\n"))
        )
        page.Contents = pdf.make_stream(shown)
        pdf.save(path)
    return path


@pytest.mark.parametrize("mapped", [True, False])
def test_o22_codes_of_a_font_without_a_unicode_map_are_not_text(tmp_path, mapped):
    text = "The harbour authority closed the pier. Ships waited outside."
    loaded = load(symbolic_pdf(tmp_path / "odd.pdf", text, mapped=mapped))
    if mapped:
        assert loaded.embedded[0].text == text
    else:
        assert loaded.pixels is not None
        assert loaded.pixels.min() < 128


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("$*)!*%/&-2/!%21*-/+14!',-0)(!1*)!.+)/\"!#*+.0!3%+1)(!-210+()", False),
        ("12.50 $1,234.56 (17%) 3/4 +82-2-123 A-17 9:30", True),
        ("def read(path): return {k: v for k, v in items(path) if k != '#'}", True),
        ("HOCKEY 306 BETA/TOKEH #12 & CO.", True),
        ("항구 사무실은 (월~금) 9:00-17:00", True),
        ("", True),
    ],
)
def test_o22_signs_within_words_without_letters_are_not_text(text, readable):
    assert is_readable([RecognizedLine(box(0, 0, 9, 9), text, 1.0)]) is readable


ARABIC = "\u0627\u0644\u0645\u0634\u0643\u0644\u0627\u062a \u0623\u064a\u0636\u064b\u0627"
"""Two words: one with lam and alef in one glyph, one with a vowel sign."""


def arabic_pdf(path: Path, glyphs: Sequence[tuple[str, float, float]]) -> Path:
    """Write one line: each glyph's letters, where it begins, and how wide it is."""
    pairs = "".join(
        f"<{33 + code:02x}> <{letters.encode('utf-16-be').hex()}>\n" for code, (letters, _, _) in enumerate(glyphs)
    )
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        font = pikepdf.Dictionary(
            Type=Name.Font, Subtype=Name.Type1, BaseFont=Name.Helvetica, FirstChar=33,
            LastChar=32 + len(glyphs), Widths=[wide * 100 for _, _, wide in glyphs],
        )  # fmt: skip
        font.ToUnicode = pdf.make_stream(
            (
                "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /A def /CMapType 2 def\n"
                f"1 begincodespacerange <00> <ff> endcodespacerange {len(glyphs)} beginbfchar\n{pairs}endbfchar\n"
                "endcmap end end"
            ).encode()
        )
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=pdf.make_indirect(font)))
        shown = (f"BT /F 10 Tf {left} 700 Td <{33 + code:02x}> Tj ET\n" for code, (_, left, _) in enumerate(glyphs))
        page.Contents = pdf.make_stream("".join(shown).encode())
        pdf.save(path)
    return path


def test_letters_that_share_a_glyph_and_vowel_signs_are_in_their_logical_order(tmp_path):
    alef, lam, meem, sheen, kaf, _, _, teh, _, hamza, yeh, dad, sign, last = ARABIC
    glyphs = [
        (alef, 100, 3), (lam, 97, 3), (meem, 91, 6), (sheen, 82, 9), (kaf, 76, 6), (lam + alef, 70, 6),
        (teh, 61, 9), (" ", 58, 3), (hamza, 55, 3), (yeh, 51, 4), (dad, 41, 10), (sign, 42, 2), (last, 38, 3),
    ]  # fmt: skip
    [line] = load(arabic_pdf(tmp_path / "a.pdf", glyphs)).embedded
    assert line.text == ARABIC
    left, right = line.words[0].quad[0][0], line.words[0].quad[1][0]
    assert left > line.words[1].quad[1][0]
    assert right > left
