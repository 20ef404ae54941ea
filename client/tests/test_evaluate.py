"""`steno evaluate`: documents that exist, their scores, and what is printed of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner, Result

from steno_api.documents.pages import Pages
from steno_api.documents.transcript import Segment, Transcript, Word
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_client.cli import app
from steno_client.evaluation.report import Report

Evaluate = Callable[..., Result]


def transcript(text: str, *, seconds: float = 2.0, **changes: Any) -> str:
    """A transcript of ten seconds."""
    fields: dict[str, Any] = {
        "meeting_id": "a", "tenant_id": "t", "transcript": text, "segments": [], "speakers": {}, "confidence": 1,
        "processing_time": seconds, "language": "en", "duration": 10, "model": "base", "total_segments": 0,
        "total_speakers": 0, "has_diarization": False,
    }  # fmt: skip
    return Transcript(**(fields | changes)).model_dump_json()


def pages(text: str) -> str:
    doubt = ResultWarning(reason=WarningReason.LOW_CONFIDENCE, message="The text of page 1 is doubtful.", page=1)
    return Pages(
        tenant_id="t", document_id="a", engine="auto", total_pages=2, failed_pages=0, confidence=1, processing_time=4,
        text=text, pages=(), warnings=(doubt,),
    ).model_dump_json()  # fmt: skip


ITEMS: list[dict[str, Any]] = [
    {"id": "talk", "path": "talk.wav", "language": "en", "kind": "read, clean", "text": "One two, three four."},
    {"id": "call", "path": "call.wav", "language": "ko", "kind": "telephone", "text": "네 감사합니다"},
    {"id": "silence", "path": "silence.wav", "language": None, "kind": "noise", "condition": "20 dB", "text": ""},
    {"id": "music", "path": "music.wav", "language": "en", "kind": "music"},
    {"id": "letter", "path": "letter.pdf", "language": "en", "kind": "scan", "text": "Dear Sir, thanks."},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest and the documents of its items."""
    (tmp_path / "speech.jsonl").write_text("\n".join(json.dumps(item) for item in ITEMS))
    made = tmp_path / "made"
    (made / "call").mkdir(parents=True)
    (made / "talk.json").write_text(transcript("one two tree four"))
    (made / "call" / "transcript.json").write_text(transcript("네감사합니다", seconds=5.0))
    (made / "silence.json").write_text(transcript("thank you"))
    (made / "music.json").write_text(transcript("la la"))
    (made / "letter.json").write_text(pages("Dear Sir,\nthank."))
    return tmp_path


@pytest.fixture
def evaluate(folder: Path) -> Evaluate:
    """Run `steno evaluate --results` with its manifest and documents."""

    def run(*words: str, manifest: bool = True, **environment: str) -> Result:
        given = [str(folder / "speech.jsonl")] if manifest else []
        command = ["evaluate", *given, "--quiet", *words]
        if not {"--local", "--url"} & set(words):
            command += ["--results", str(folder / "made")]
        return CliRunner().invoke(app, command, env={"COLUMNS": "200", "NO_COLOR": "1", **environment})

    return run


def report_of(path: Path) -> Report:
    return Report.model_validate_json(path.read_text())


def test_documents_that_a_cluster_made(evaluate: Evaluate, folder: Path):
    done = evaluate("--json", str(folder / "out.json"), "--html", str(folder / "out.html"))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Recordings by language"
    assert lines[1].split("  ")[0] == "language"
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
    assert rows["en"] == ["2", "25.0", "5.6", "5.00"]
    assert rows["ko"] == ["1", "0.0", "0.0", "2.00"]
    assert rows["none"] == ["1", "5.00"]
    assert "Documents by language" in lines
    assert "Recordings: 2 hallucinated words where nothing is said or printed" in lines
    assert "Documents: warnings: LowConfidence 1" in lines
    assert (
        "Recordings: 0.7 minutes in 11.0 s: 3.64 x real time; by item: slowest 2.00, median 5.00, fastest 5.00" in lines
    )

    report = report_of(folder / "out.json")
    assert [one.id for one in report.items] == [item["id"] for item in ITEMS]
    recordings, documents = report.media
    assert recordings.total.errors is not None
    assert (recordings.total.errors.errors, recordings.total.errors.units) == (3, 10)
    assert recordings.total.words is not None
    assert (recordings.total.scored, recordings.total.items, recordings.total.words.units) == (3, 4, 4)
    assert [one.name for one in recordings.conditions] == ["as recorded", "20 dB"]
    assert [one.name for one in recordings.kinds] == ["music", "noise", "read", "telephone"]
    assert documents.total.characters is not None
    assert documents.total.characters.errors == 1
    assert documents.total.words_found is not None
    assert documents.total.words_found.found == 2
    assert json.loads((folder / "out.json").read_text())["items"][0]["error_rate"] == 0.25


class Tags(HTMLParser):
    """Checks that every element is closed, and collects text and attributes."""

    VOID = ("meta", "br", "hr", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_shows_text_as_text(evaluate: Evaluate, folder: Path):
    (folder / "made" / "talk.json").write_text(transcript("<script>alert(1)</script> one two & four"))
    assert evaluate("--html", str(folder / "out.html")).exit_code == 0
    html = (folder / "out.html").read_text()
    page_of_report = Tags()
    page_of_report.feed(html)
    page_of_report.close()
    assert page_of_report.open == []
    assert "<script>alert(1)</script> one two & four" in page_of_report.text
    assert not any(name in ("src", "href") for name, _ in page_of_report.attributes)
    chart = html[html.index("<svg") : html.index("</svg>") + len("</svg>")]
    drawing = ET.fromstring(chart)
    assert [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")][:2] == [
        "Recordings: errors by language",
        "en",
    ]


def test_an_item_that_fails_is_named_and_stops_no_other(evaluate: Evaluate, folder: Path):
    (folder / "made" / "talk.json").unlink()
    (folder / "made" / "music.json").write_text("[]")
    done = evaluate("--json", str(folder / "out.json"))
    assert done.exit_code == 1
    assert "steno: talk failed: " in done.stderr
    assert "has no talk.json or talk/transcript.json or talk/pages.json" in done.stderr
    assert done.stderr.splitlines()[-1] == "steno: 2 of 5 items failed: talk, music"
    recordings = report_of(folder / "out.json").media[0]
    assert (recordings.total.failed, recordings.total.scored) == (2, 2)
    assert "Failed: music: " in done.stdout


def test_a_limit_for_continuous_integration(evaluate: Evaluate):
    assert evaluate("--fail-above", "31", "--only", "language=en", "--only", "medium=recording").exit_code == 0
    done = evaluate("--fail-above", "24.9", "--only", "language=en", "--only", "medium=recording")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "steno: the error rate of recordings is 25.0 %, above 24.9 %"


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--half", "even"], ["talk", "silence", "letter"]),
        (["--half", "odd", "--limit", "1"], ["call"]),
        (["--only", "kind=read*", "--only", "kind=noise"], ["talk", "silence"]),
    ],
)
def test_a_part_of_the_items(evaluate: Evaluate, folder: Path, options: list[str], ids: list[str]):
    assert evaluate(*options, "--json", str(folder / "out.json")).exit_code == 0
    assert [one.id for one in report_of(folder / "out.json").items] == ids


def test_the_corpus_folder_is_the_default(evaluate: Evaluate, folder: Path):
    done = evaluate(manifest=False, STENO_CORPUS=str(folder))
    assert done.exit_code == 0, done.output
    assert "Documents by language" in done.stdout
    done = evaluate(manifest=False)
    assert done.exit_code == 64
    assert "give a MANIFEST, or set STENO_CORPUS to a folder with speech.jsonl and documents.jsonl" in done.stderr
    done = evaluate(manifest=False, STENO_CORPUS=str(folder / "made"))
    assert done.exit_code == 64
    assert "has neither speech.jsonl nor documents.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--local"], "say who recognises"),
        (["--only", "colour=red"], "KEY=PATTERN with one of the keys id, medium, language, kind, condition"),
        (["--only", "kind=none"], "no item of 5 is selected: change --only"),
    ],
)
def test_wrong_options(evaluate: Evaluate, folder: Path, options: list[str], message: str):
    done = CliRunner().invoke(
        app,
        ["evaluate", str(folder / "speech.jsonl"), "--results", str(folder / "made"), *options],
        env={"COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.exit_code in (2, 64)
    assert message in done.stderr


def test_speakers_and_word_times_of_a_transcript(evaluate: Evaluate, folder: Path):
    item = {"id": "two", "path": "two.wav", "language": "en", "duration_seconds": 10, "text": "hello there"}
    item["turns"] = [{"speaker": "x", "start": 0, "duration": 5}, {"speaker": "y", "start": 5, "duration": 5}]
    item["words"] = [{"word": "hello", "start": 1, "end": 2}, {"word": "there", "start": 6, "end": 7}]
    (folder / "speech.jsonl").write_text(json.dumps(item))
    words = [
        Word(word="Hello,", start=0, end=5, confidence=1, speaker="SPEAKER_00"),
        Word(word="there.", start=5, end=10, confidence=1, speaker="SPEAKER_01"),
    ]
    segments = [Segment(start=0, end=10, text="Hello, there.", confidence=1, words=words)]
    (folder / "made" / "two.json").write_text(transcript("Hello, there.", segments=segments, has_diarization=True))
    done = evaluate("--json", str(folder / "out.json"))
    assert done.exit_code == 0, done.output
    total = report_of(folder / "out.json").media[0].total
    assert total.speakers is not None
    assert total.word_times is not None
    assert (total.speakers.rate, total.word_times.mean) == (0, (1 + 3 + 1 + 3) / 4)
    assert "DER %" in done.stdout
    assert "word time ms" in done.stdout
