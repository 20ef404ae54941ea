"""Manifests: what is accepted, what is refused, and the error messages."""

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
from steno_client.resource import DEFINITIONS, RESOURCE_MODELS, STREAM_SESSION

JOB = """
apiVersion: steno.dev/v1alpha1
kind: TranscriptionJob
metadata: {name: standup}
spec:
  source: {uri: "s3://meetings/standup.m4a"}
  output: {uri: "s3://transcripts", formats: [json, srt]}
"""


STREAM = """
apiVersion: steno.dev/v1alpha1
kind: StreamSession
metadata: {name: standup}
spec: {language: en}
"""


@pytest.mark.parametrize("name", ["transcriptionjob", "transcriptionjob-full", "ocrjob", "streamsession"])
def test_the_examples_are_accepted_unchanged(name: str):
    path = ROOT / "examples" / f"{name}.yaml"
    kinds = "|".join(one.kind for one in DEFINITIONS)
    text = "---".join(part for part in path.read_text().split("\n---") if re.search(rf"\nkind: ({kinds})\n", part))
    (found,) = manifests.parse_manifests(name, text)
    assert found.body == yaml.safe_load(text)


def test_several_documents_a_list_and_a_generated_name():
    listed = "apiVersion: v1\nkind: List\nitems:\n- " + JOB.strip().replace("\n", "\n  ")
    found = manifests.parse_manifests("a.yaml", f"{JOB}---\n---\n{listed.replace('{name:', '{generateName:')}")
    assert [one.body["metadata"] for one in found] == [{"name": "standup"}, {"generateName": "standup"}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("s3://meetings/standup.m4a", "ftp://x/a.m4a"), "spec.source.uri: must be s3://bucket/key, https://"),
        (("formats: [json, srt]", "formats: [docx]"), "spec.output.formats.0: Input should be 'json', 'srt'"),
        (('{uri: "s3://transcripts"', '{url: "s3://transcripts"'), "spec.output.uri: Field required"),
        (("formats:", "format:"), "spec.output.format: there is no such field; did you mean formats?"),
        (("spec:", "spec:\n  language: Korean"), "spec.language: "),
        (("spec:", "spec:\n  modle: {name: tiny}"), "spec.modle: there is no such field; did you mean model?"),
        (("spec:", "specs:"), "spec: Field required"),
        (("name: standup", "name: " + "a" * 58), "metadata.name: must be at most 57 characters"),
        (("{name: standup}", "{}"), "metadata.name: give the resource a name"),
        (
            ("kind: TranscriptionJob", "kind: RuntimeProfile"),
            "this command does not accept steno.dev/v1alpha1 RuntimeProfile: it accepts TranscriptionJob, OCRJ",
        ),
        (("steno.dev/v1alpha1", "batch/v1"), "this command does not accept batch/v1 TranscriptionJob: it accepts"),
    ],
)
def test_an_error_names_the_field(change: tuple[str, str], message: str):
    with pytest.raises(CommandError, match=re.escape(message)) as refused:
        manifests.parse_manifests("a.yaml", JOB.replace(*change))
    assert str(refused.value).startswith("a.yaml: ")
    assert refused.value.exit_code == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("language: en", "language: English"), "spec.language: must be auto or a BCP 47 language tag"),
        (("language: en", "langauge: en"), "spec.langauge: there is no such field; did you mean language?"),
        (("language: en", "maxDurationSeconds: 0"), "spec.maxDurationSeconds: Input should be greater"),
        (("name: standup", "name: " + "a" * 64), "metadata.name: must be at most 63 characters"),
    ],
)
def test_sessions_are_validated_too(change: tuple[str, str], message: str):
    with pytest.raises(CommandError, match=re.escape(message)):
        manifests.parse_manifests("a.yaml", STREAM.replace(*change))


@pytest.mark.parametrize("change", [("spec: {language: en}", ""), ("name: standup", "name: " + "a" * 63)])
def test_optional_fields_of_a_session(change: tuple[str, str]):
    (found,) = manifests.parse_manifests("a.yaml", STREAM.replace(*change))
    assert found.definition is STREAM_SESSION


def test_maximum_name_lengths_are_those_of_the_crds():
    """The client checks the same limits as the rules in the CRDs."""
    for kind, model in RESOURCE_MODELS.items():
        (rule,) = (one for one in model.definition.rules if "metadata.name" in one.rule)
        assert rule.rule == f"size(self.metadata.name) <= {manifests.max_name_length(kind)}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1,\n2: }", "a.yaml, line 2: this is not valid YAML"),
        ("", "the file does not contain a manifest"),
        ("- 1", "this is not a manifest"),
        ("just words", "this is not a manifest"),
        (
            "a: 1\nwhen: 2026-13-45",
            "a.yaml, line 2: this is not valid YAML: '2026-13-45' is read as a date or number but is not a valid one",
        ),
        ("- [at, 2026-01-01T25:00:00Z]", "line 1: this is not valid YAML: '2026-01-01T25:00:00Z' is read as a date"),
        ("count: !!int " + "9" * 5000, "line 1: this is not valid YAML: '9999"),
        ("[" * 5000, "a.yaml: this is not valid YAML: it is nested too deeply"),
    ],
)
def test_a_text_that_is_not_a_manifest(text: str, message: str):
    with pytest.raises(CommandError, match=re.escape(message)) as refused:
        manifests.parse_manifests("a.yaml", text)
    assert refused.value.exit_code == 64
    assert len(str(refused.value)) < 200


def test_an_invalid_yaml_value_has_a_remedy():
    with pytest.raises(CommandError, match="quote it to make it text"):
        manifests.parse_manifests("a.yaml", JOB + "  meetingID: 2026-02-30\n")
    (found,) = manifests.parse_manifests("a.yaml", JOB + "  meetingID: '2026-02-30'\n")
    assert found.body["spec"]["meetingID"] == "2026-02-30"


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match="is not a text file"):
        manifests.read_manifests(tmp_path / "binary")
    with pytest.raises(CommandError, match="No such file"):
        manifests.read_manifests(tmp_path / "absent")


def test_a_job_from_options_leaves_out_unset_options():
    spec = {
        "source": {"uri": "s3://b/k.png", "region": None},
        "output": {"uri": "pvc://c", "formats": None},
        "pages": "1-3",
    }
    built = manifests.build_manifest("OCRJob", "scan", "team-a", spec)
    assert built.body == {
        "apiVersion": "steno.dev/v1alpha1",
        "kind": "OCRJob",
        "metadata": {"name": "scan", "namespace": "team-a"},
        "spec": {"source": {"uri": "s3://b/k.png"}, "output": {"uri": "pvc://c"}, "pages": "1-3"},
    }
    assert manifests.parse_manifests("again", manifests.to_yaml([built]))[0].body == built.body
    with pytest.raises(CommandError, match=r"^OCRJob scan: spec.pages: must be pages and ranges"):
        manifests.build_manifest("OCRJob", "scan", None, {**spec, "pages": "one"})


@given(st.sampled_from(["s3://b/", "https://h/a/"]), st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])))
def test_generated_names_are_valid(prefix: str, key: str):
    name = manifests.generate_name(prefix + key)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert len(name) <= manifests.MAX_NAME_LENGTH


SECRET = st.text(st.sampled_from("ghiklmnpqrstuvwxyz"), min_size=1)
"""Letters that a generated name never has by itself: its random suffix and `job` use others."""
PLAIN = st.text(st.sampled_from("abcdef0123456789./-"))


@given(
    scheme=st.sampled_from(["https", "s3", "pvc"]),
    user=st.one_of(st.just(""), st.builds("{}:{}@".format, SECRET, SECRET), st.builds("{}@".format, SECRET)),
    host=st.sampled_from(["a.de", "a", "a:80"]),
    path=st.one_of(st.just(""), st.builds("/{}".format, PLAIN)),
    tail=st.builds(
        "{}{}{}{}".format, st.sampled_from("?#"), SECRET, st.sampled_from(["/", ".", "=", "?", "#", "@"]), SECRET
    ),
)
def test_generated_names_do_not_leak_a_query_or_userinfo(scheme: str, user: str, host: str, path: str, tail: str):
    name = manifests.generate_name(f"{scheme}://{user}{host}{path}{tail}")
    assert set(name) <= set("abcdef0123456789-jo"), name


def test_generated_names_are_readable_and_unique():
    assert re.fullmatch(
        r"recording-[0-9a-f]{6}", manifests.generate_name("https://h/a/recording?X-Amz-Signature=abc#t=1")
    )
    assert re.fullmatch(r"job-[0-9a-f]{6}", manifests.generate_name("https://me:word@h"))
    assert re.fullmatch(r"board-meeting-3-[0-9a-f]{6}", manifests.generate_name("s3://b/2026/Board meeting 3.m4a"))
    assert manifests.generate_name("s3://b/a.wav") != manifests.generate_name("s3://b/a.wav")
