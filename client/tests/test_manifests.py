"""Manifests: what is taken, what is refused, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hack.paths import ROOT
from steno_client import manifests
from steno_client.errors import CommandError

JOB = """
apiVersion: steno.dev/v1alpha1
kind: TranscriptionJob
metadata: {name: standup}
spec:
  source: {uri: "s3://meetings/standup.m4a"}
  output: {uri: "s3://transcripts", formats: [json, srt]}
"""


@pytest.mark.parametrize("name", ["transcriptionjob", "transcriptionjob-full", "ocrjob"])
def test_the_examples_are_taken_as_they_are(name: str):
    path = ROOT / "examples" / f"{name}.yaml"
    text = "---".join(
        part for part in path.read_text().split("\n---") if re.search(r"\nkind: (TranscriptionJob|OCRJob)\n", part)
    )
    (found,) = manifests.read(name, text)
    assert found.body == yaml.safe_load(text)


def test_several_documents_a_list_and_a_generated_name():
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + JOB.strip().replace("\n", "\n  ")
    found = manifests.read("a.yaml", f"{JOB}---\n---\n{listed.replace('{name:', '{generateName:')}")
    assert [one.body["metadata"] for one in found] == [{"name": "standup"}, {"generateName": "standup"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s3://meetings/standup.m4a", "ftp://x/a.m4a"), "spec.source.uri: must be s3://bucket/key, https://"),
        (("formats: [json, srt]", "formats: [docx]"), "spec.output.formats.0: Input should be 'json', 'srt'"),
        (('{uri: "s3://transcripts"', '{url: "s3://transcripts"'), "spec.output.uri: Field required"),
        (("formats:", "format:"), "spec.output.format: there is no such field; formats is meant?"),
        (("spec:", "spec:\n  language: Korean"), "spec.language: "),
        (("spec:", "spec:\n  modle: {name: tiny}"), "spec.modle: there is no such field; model is meant?"),
        (("spec:", "specs:"), "spec: Field required"),
        (("name: standup", "name: " + "a" * 58), "metadata.name: must be at most 57 characters"),
        (("{name: standup}", "{}"), "metadata.name: give the resource a name"),
        (
            ("kind: TranscriptionJob", "kind: RuntimeProfile"),
            "is not for this command: it takes TranscriptionJob, OCRJ",
        ),
        (("steno.dev/v1alpha1", "batch/v1"), "batch/v1 TranscriptionJob is not for this command"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(change: tuple[str, str], message: str):
    with pytest.raises(CommandError, match=re.escape(message)) as refused:
        manifests.read("a.yaml", JOB.replace(*change))
    assert str(refused.value).startswith("a.yaml: ")
    assert refused.value.exit_code == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\n2: }", "a.yaml, line 2: this is no YAML"),
        ("", "there is no manifest in it"),
        ("- 1", "this is no manifest"),
        ("just words", "this is no manifest"),
    ],
)
def test_what_is_no_manifest(text: str, message: str):
    with pytest.raises(CommandError, match=re.escape(message)):
        manifests.read("a.yaml", text)


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="is no text"):
        manifests.read_file(tmp_path / "binary")
    with pytest.raises(CommandError, match="No such file"):
        manifests.read_file(tmp_path / "absent")


def test_a_job_from_options_leaves_out_what_was_not_given():
    spec = {
        "source": {"uri": "s3://b/k.png", "region": None},
        "output": {"uri": "pvc://c", "formats": None},
        "pages": "1-3",
    }
    built = manifests.build("OCRJob", "scan", "team-a", spec)
    assert built.body == {
        "apiVersion": "steno.dev/v1alpha1",
        "kind": "OCRJob",
        "metadata": {"name": "scan", "namespace": "team-a"},
        "spec": {"source": {"uri": "s3://b/k.png"}, "output": {"uri": "pvc://c"}, "pages": "1-3"},
    }
    assert manifests.read("again", manifests.to_yaml([built]))[0].body == built.body
    with pytest.raises(CommandError, match=r"^OCRJob scan: spec.pages: must be pages and ranges"):
        manifests.build("OCRJob", "scan", None, {**spec, "pages": "one"})


@given(st.sampled_from(["s3://b/", "https://h/a/"]), st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_made_names_are_names(prefix: str, key: str):
    name = manifests.name_for(prefix + key)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= manifests.MAX_NAME


def test_made_names_say_what_they_are_of():
    assert re.fullmatch(r"board-meeting-3-[0-9a-f]{6}", manifests.name_for("s3://b/2026/Board meeting 3.m4a"))
    assert manifests.name_for("s3://b/a.wav") != manifests.name_for("s3://b/a.wav")
