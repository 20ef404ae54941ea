"""Pages in Latin letters whose language is not given: read as English they would lose their accents in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from steno_api.documents.warnings import WarningReason
from steno_runtime.ocr.engines.tesseract import tessdata
from steno_runtime.ocr.latin import latin_language

from .conftest import Read
from .render import FONTS, SENTENCES

FRENCH = (
    "Le comité s'est réuni à l'hôtel de ville pour",
    "étudier les réparations du port. Les coûts ont",
    "augmenté, car le prix de l'acier a doublé à la",
    "rentrée. Les pêcheurs ne sont pas d'accord, et",
    "une école près de la forêt est fermée cet été.",
)


SWEDISH = (
    "Kommittén träffades på rådhuset för att gå igenom",
    "reparationerna av hamnen. Kostnaderna har ökat,",
    "eftersom stålet har blivit dubbelt så dyrt i år.",
    "Fiskarna är inte överens, och en förskola nära",
    "skogen håller stängt även under hela sommaren.",
)


def letter(path: Path, lines: tuple[str, ...] = FRENCH) -> Path:
    image = Image.new("RGB", (1300, 420), "white")
    for row, line in enumerate(lines):
        font = ImageFont.truetype(str(FONTS["en"]), 40)
        ImageDraw.Draw(image).text((60, 40 + 70 * row), line, fill=(10, 10, 10), font=font)
    image.save(path, dpi=(200, 200))
    return path


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Le comite s'est reuni a la mairie pour etudier les reparations du port dans une salle", "fr"),
        ("Der Ausschuss traf sich am Montag, um die Kosten zu pruefen, und das Dach ist nicht dicht", "de"),
        ("El comite se reunio para estudiar las obras del puerto y los costes de la escuela", "es"),
        ("Il comitato si e riunito per studiare i lavori del porto e le spese della scuola", "it"),
        ("De commissie kwam bijeen om het werk aan de haven te bespreken en een besluit te nemen", "nl"),
        ("O comite reuniu-se para estudar as obras do porto e os custos da escola em uma sala", "pt"),
        ("Komisja zebrala sie w ratuszu, by omowic prace w porcie, ale nie jest to co trzeba z budzetu", "pl"),
        ("Kurul bir toplanti yapti ve bu liman icin yeni bir karar aldi, ama daha cok para gerek", "tr"),
        ("Kommitten traffades i radhuset for att ga igenom hamnens reparationer och vad den nya skolan kostar", "sv"),
        ("Lautakunta kokoontui kaupungintalolla, koska sataman korjaukset ovat nyt kalliimpia kuin viime vuonna", "fi"),
        ("Vybor se sesel na radnici, aby projednal opravy pristavu, protoze cena oceli je letos dvojnasobna", "cs"),
        ("Comitetul s-a intrunit la primarie pentru a discuta reparatiile din port si costurile scolii noi", "ro"),
        ("Uy ban da hop tai toa thi chinh de ban ve viec sua chua ben cang va chi phi cua truong hoc moi", "vi"),
        ("Total 12.50 EUR", None),
        ("de la de la de la", None),
    ],
)
def test_the_language_of_a_text_is_known_without_its_accents(text: str, language: str | None):
    assert latin_language(text) == language


def test_english_prose_is_english():
    assert latin_language(" ".join(SENTENCES["en"])) == "en"
    assert latin_language(" ".join(SENTENCES["ko"])) is None


@pytest.mark.parametrize(("language", "lines"), [("fr", FRENCH), ("sv", SWEDISH)])
def test_a_page_keeps_its_accents(read: Read, tmp_path: Path, language: str, lines: tuple[str, ...]):
    (page,) = read(letter(tmp_path / "letter.png", lines)).pages
    assert page.languages == (language,)
    words = " ".join(lines).split()
    assert sum(word in page.text.split() for word in words) >= 0.9 * len(words)


def test_without_the_data_of_its_language_the_page_has_a_warning(read: Read, tmp_path: Path, monkeypatch):
    installed = tessdata()
    assert installed is not None
    folder = tmp_path / "tessdata"
    folder.mkdir()
    for name in ("eng", "osd"):
        (folder / f"{name}.traineddata").symlink_to(installed / f"{name}.traineddata")
    monkeypatch.setenv("TESSDATA_PREFIX", str(folder))
    result = read(letter(tmp_path / "letter.png"), engine="tesseract")
    said = [one.message for one in result.warnings if one.reason is WarningReason.LANGUAGE_UNCERTAIN]
    assert ["data for fra" in message for message in said] == [True]
