"""Manifests: what is read, what is refused and where, halves and filters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_client.errors import CommandError
from steno_client.evaluation.manifest import (
    Filter,
    Item,
    Medium,
    corpus_manifests,
    half_of,
    read_manifest,
    select,
)
from steno_client.evaluation.speakers import SpeakerSpan


def write(folder: Path, *lines: object) -> Path:
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_recording_with_everything(tmp_path: Path):
    (tmp_path / "a.rttm").write_text("SPEAKER a 1 0.5 2.0 <NA> <NA> ann <NA> <NA>\n")
    line = {
        "id": "a", "path": "speech/a.flac", "language": "en-GB", "kind": "spontaneous, accented", "condition": "noise",
        "text": "Hello", "text_draft": "never", "keywords": ["Hello"], "rttm": "a.rttm", "duration_seconds": 2.5,
        "words": [{"word": "Hello", "start": 0.5, "end": 1}], "source": {"anything": 1}, "speakers": None,
    }  # fmt: skip
    (item,) = read_manifest(write(tmp_path, line, ""))
    assert (item.id, item.file, item.medium) == ("a", tmp_path / "speech/a.flac", Medium.RECORDING)
    assert (item.language, item.languages, item.main_kind, item.condition) == ("en", ("en-GB",), "spontaneous", "noise")
    assert (item.reference, item.keywords, item.duration) == ("Hello", ("Hello",), 2.5)
    assert item.speakers == (SpeakerSpan("ann", 0.5, 2.5),)
    assert item.words[0].end == 1


def test_a_document_with_its_text_in_a_file(tmp_path: Path):
    (tmp_path / "a.txt").write_text("\ufeffText", encoding="utf-8")
    line = {"id": "a", "path": "a.PDF", "language": "ko,en", "text_path": "a.txt", "password": "secret", "pages": 2}
    (item,) = read_manifest(write(tmp_path, line))
    assert (item.medium, item.languages, item.reference) == (Medium.DOCUMENT, ("ko", "en"), "Text")
    assert "secret" not in repr(item)
    assert item.main_kind == "other"


def test_an_item_without_reference_or_language(tmp_path: Path):
    lines = (
        {"id": "a", "path": "a.wav", "language": None, "text": None},
        {"id": "b", "path": "b.wav", "languages": ["de"]},
    )
    first, second = read_manifest(write(tmp_path, *lines))
    assert (first.reference, first.language, second.languages) == (None, None, ("de",))


def test_turns_with_times_say_who_speaks(tmp_path: Path):
    timed = [{"speaker": "1", "start": 0, "duration": 1}, {"speaker": "2", "start": 1, "duration": 2, "text": "so"}]
    untimed = [{"speaker": "1", "text": "so"}]
    first, second = read_manifest(
        write(tmp_path, {"id": "a", "path": "a.wav", "turns": timed}, {"id": "b", "path": "b.wav", "turns": untimed})
    )
    assert first.speakers == (SpeakerSpan("1", 0, 1), SpeakerSpan("2", 1, 3))
    assert second.speakers == ()


def test_wrong_lines_are_named_all_at_once(tmp_path: Path):
    path = write(
        tmp_path,
        {"id": "a", "path": "a.wav"},
        {"id": "b", "path": "b.wav", "text": 5, "words": [{"word": "x", "start": -1, "end": 0}]},
        "{not json",
        {"path": "c.wav"},
        {"id": "a", "path": "d.wav"},
        {"id": "e", "path": "e.wav", "text": "x", "text_path": "x"},
        {"id": "f", "path": "f.wav", "text_path": "missing.txt"},
        {"id": "../g", "path": "f.wav"},
    )
    with pytest.raises(CommandError) as error:
        read_manifest(path)
    said = str(error.value)
    assert said.startswith(f"{path}: line 2: text: Input should be a valid string, words.0.start: ")
    assert "; line 3: Invalid JSON" in said
    assert "; line 4: id: Field required; " in said
    assert "; line 5: the id 'a' is taken by a line before it; " in said
    assert "; line 6: Value error, text and text_path are both given; and 2 more" in said
    assert error.value.exit_code == 64


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "f", "path": "f.wav", "text_path": "no.txt"}, "line 1: text_path: cannot read no.txt: No such file"),
        ({"id": "f", "path": "f.wav", "text_path": "latin.txt"}, "cannot read latin.txt: it is not UTF-8"),
        ({"id": "f", "path": "f.wav", "rttm": "bad.rttm"}, "line 1: rttm: bad.rttm: line 1 is not a SPEAKER row"),
        ({"id": "../g", "path": "f.wav"}, "line 1: id: String should match pattern"),
        ("", "has no items"),
    ],
)
def test_references_that_cannot_be_read(tmp_path: Path, line: object, message: str):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "bad.rttm").write_text("SPEAKER a")
    with pytest.raises(CommandError) as error:
        read_manifest(write(tmp_path, line))
    assert message in str(error.value)


def test_no_manifest(tmp_path: Path):
    with pytest.raises(CommandError, match="No such file"):
        read_manifest(tmp_path / "none.jsonl")
    with pytest.raises(CommandError, match=r"neither speech.jsonl nor documents.jsonl"):
        corpus_manifests(tmp_path)


def named(*names: str) -> list[Item]:
    return [Item(name, Path(name), Medium.RECORDING) for name in names]


@given(st.lists(st.integers(), unique=True))
def test_halves_are_disjoint_and_complete(numbers: list[int]):
    items = named(*map(str, numbers))
    even, odd = half_of(items, "even"), half_of(items, "odd")
    assert sorted(one.id for one in even + odd) == sorted(one.id for one in items)
    assert 0 <= len(even) - len(odd) <= 1


def test_filters_of_one_key_are_alternatives_and_of_several_restrictions():
    items = [
        Item("a", Path("a"), Medium.RECORDING, ("en-GB",), "spontaneous, accented"),
        Item("b", Path("b"), Medium.RECORDING, ("ko", "en"), "read", "noise"),
        Item("c", Path("c"), Medium.DOCUMENT, ("de",), "read"),
    ]

    def ids(*filters: Filter, limit: int | None = None) -> str:
        return "".join(one.id for one in select(items, filters, limit))

    assert ids() == "abc"
    assert ids(limit=2) == "ab"
    assert ids(Filter("language", "en")) == "ab"
    assert ids(Filter("language", "en"), Filter("language", "de")) == "abc"
    assert ids(Filter("language", "en"), Filter("kind", "read")) == "b"
    assert ids(Filter("kind", "accent*")) == "a"
    assert ids(Filter("condition", "n*"), Filter("medium", "recording")) == "b"
    assert ids(Filter("condition", "")) == "ac"
