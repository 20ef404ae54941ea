"""`steno results` with a real apiserver and a real S3 server."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from hack.s3 import Client

from .conftest import Objects, Steno

pytestmark = pytest.mark.apiserver

FILES = {"json": b'{"transcript": "hello"}\n', "txt": "안녕하세요, hello.\n".encode(), "srt": b"1\n"}
NAMES = {"json": "transcript.json", "txt": "transcript.txt", "srt": "transcript.srt"}
COMPLETE = {"Complete": ("True", "Published", "")}


def finished(objects: Objects, s3: Client, name: str = "standup", **output: Any) -> str:
    """A job that published; returns the directory of its results."""
    made = objects.job(name, **output)
    directory = f"s3://transcripts/{objects.namespace}/{name}/{made['metadata']['uid']}"
    artifacts: list[dict[str, Any]] = []
    for fmt, data in FILES.items():
        uri = f"{directory}/{NAMES[fmt]}"
        s3.put(uri, data)
        digest = hashlib.sha256(data).hexdigest()
        artifacts.append({"format": fmt, "uri": uri, "sha256": digest, "bytes": len(data)})
    results = {"manifest": f"{directory}/manifest.json", "artifacts": artifacts}
    objects.status("transcriptionjobs", name, phase="Succeeded", conditions=COMPLETE, results=results)
    return directory


def keys(s3: Client, **changed: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key} | changed


def assert_refused(done: Any, code: int, message: str) -> None:
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert done.stderr.startswith("steno: ")
    assert done.stderr.count("\n") == 1


def test_all_results_with_credentials_of_the_environment(steno: Steno, objects: Objects, s3: Client, tmp_path: Path):
    finished(objects, s3, endpointURL=s3.endpoint)
    out = tmp_path / "new" / "folder"
    done = steno("results", "standup", "-o", str(out), **keys(s3))
    assert done.exit_code == 0, done.output
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {NAMES[fmt]: FILES[fmt] for fmt in FILES}
    assert done.stdout.split() == [str(out / NAMES[fmt]) for fmt in FILES]


def test_the_directory_is_named_like_the_job(
    steno: Steno, objects: Objects, s3: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    finished(objects, s3, endpointURL=s3.endpoint)
    monkeypatch.chdir(tmp_path)
    assert steno("results", "tj/standup", "-f", "srt,json", **keys(s3)).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "standup").iterdir()) == ["transcript.json", "transcript.srt"]


def test_the_text_is_printed(steno: Steno, objects: Objects, s3: Client):
    finished(objects, s3, endpointURL=s3.endpoint)
    done = steno("results", "standup", "-o", "-", **keys(s3))
    assert (done.exit_code, done.stdout_bytes) == (0, FILES["txt"])
    done = steno("results", "standup", "-o", "-", "-f", "json", **keys(s3))
    assert json.loads(done.stdout) == {"transcript": "hello"}


def test_credentials_of_the_secret_and_a_forwarded_endpoint(steno: Steno, objects: Objects, s3: Client, tmp_path: Path):
    scope = {"AWS_ENDPOINT_URL": "http://s3.steno-s3.svc:7070", "allowPlainHTTP": "true"}
    objects.secret("keys", **keys(s3, **scope))
    finished(objects, s3, endpointURL="http://s3.steno-s3.svc:7070", secretRef={"name": "keys"})
    words = ("results", "standup", "-o", str(tmp_path), "--from-secret")
    done = steno(*words, "--endpoint-url", s3.endpoint, AWS_ACCESS_KEY_ID="another", AWS_SESSION_TOKEN="another")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "transcript.txt").read_bytes() == FILES["txt"]
    inside = steno(*words)
    assert_refused(inside, 75, "run `kubectl -n steno-s3 port-forward svc/s3 7070` and add --endpoint-url http://127.0")


def test_h6_a_secret_is_not_for_the_endpoint_that_a_job_names(steno: Steno, objects: Objects, s3: Client):
    objects.secret("keys", **keys(s3, allowedPrefix="https://s3.example.com"))
    finished(objects, s3, endpointURL=s3.endpoint, secretRef={"name": "keys"})
    words = ("results", "standup", "-o", "-", "--from-secret")
    assert_refused(steno(*words), 77, f"the Secret's credentials are not sent to {s3.endpoint} for s3://transcripts/")
    assert steno(*words, "--endpoint-url", s3.endpoint).exit_code == 0, "who reads the Secret may choose"


def test_credentials_of_a_profile(steno: Steno, objects: Objects, s3: Client, tmp_path: Path):
    finished(objects, s3, endpointURL=s3.endpoint)
    file = tmp_path / "credentials"
    file.write_text(f"[work]\naws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n")
    words = ("results", "standup", "-o", "-")
    assert steno(*words, "--profile", "work", AWS_SHARED_CREDENTIALS_FILE=str(file)).exit_code == 0
    assert steno(*words, AWS_PROFILE="work", AWS_SHARED_CREDENTIALS_FILE=str(file)).exit_code == 0
    absent = steno(*words, "--profile", "home", AWS_SHARED_CREDENTIALS_FILE=str(file))
    assert_refused(absent, 69, "has no keys for the profile home: run `eval ")
    assert_refused(steno(*words, AWS_SHARED_CREDENTIALS_FILE=str(file)), 69, "no S3 credentials: set AWS_ACCESS_KEY_ID")


def test_an_artifact_that_was_changed_is_not_written(steno: Steno, objects: Objects, s3: Client, tmp_path: Path):
    directory = finished(objects, s3, endpointURL=s3.endpoint)
    s3.put(f"{directory}/transcript.txt", b"forged")
    (tmp_path / "transcript.txt").write_text("of yesterday")
    done = steno("results", "standup", "-f", "txt", "-o", str(tmp_path), **keys(s3))
    assert_refused(done, 64, "transcript.txt is not what was published (6 bytes with another digest")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"transcript.txt": "of yesterday"}
    printed = steno("results", "standup", "-o", "-", **keys(s3))
    assert (printed.exit_code, printed.stdout) == (64, "")


@pytest.mark.parametrize(
    ("words", "changed", "refusal"),
    [
        ((), {"AWS_SECRET_ACCESS_KEY": "wrong"}, (77, "is not allowed (SignatureDoesNotMatch)")),
        ((), {"AWS_ACCESS_KEY_ID": "nobody"}, (77, "is not allowed (")),
        (("-f", "vtt"), {}, (64, "did not publish vtt: choose from --format json,txt,srt")),
        (("--from-secret",), {}, (64, "has no spec.output.secretRef: leave out --from-secret")),
        (("--endpoint-url", "http://127.0.0.1:9"), {}, (75, "http://127.0.0.1:9 cannot be reached from here")),
        (("-o", "/dev/null/x"), {}, (73, "cannot create the directory")),
    ],
)
def test_results_that_cannot_be_downloaded(  # noqa: PLR0917 - pytest passes them by name
    steno: Steno,
    objects: Objects,
    s3: Client,
    tmp_path: Path,
    words: tuple[str, ...],
    changed: dict[str, str],
    refusal: tuple[int, str],
):
    finished(objects, s3, endpointURL=s3.endpoint)
    done = steno("results", "standup", "-o", str(tmp_path), *words, **keys(s3, **changed))
    assert_refused(done, *refusal)
    assert list(tmp_path.iterdir()) == []


def test_deleted_objects_and_incomplete_secrets(steno: Steno, objects: Objects, s3: Client):
    objects.secret("half", AWS_ACCESS_KEY_ID="a")
    finished(objects, s3, endpointURL=s3.endpoint, secretRef={"name": "half"})
    words = ("results", "standup", "-o", "-")
    assert_refused(steno(*words, "--from-secret"), 64, "the Secret half has no AWS_SECRET_ACCESS_KEY")
    artifact = {"format": "txt", "uri": "s3://transcripts/gone.txt", "sha256": "0", "bytes": 1}
    results = {"manifest": "s3://transcripts/manifest.json", "artifacts": [artifact]}
    objects.status("transcriptionjobs", "standup", results=results)
    assert_refused(steno(*words, **keys(s3)), 66, "s3://transcripts/gone.txt does not exist")
    finished(objects, s3, "other", endpointURL=s3.endpoint, secretRef={"name": "absent"})
    assert_refused(steno("results", "other", "--from-secret"), 66, "the Secret absent is not in the namespace")


def test_results_on_a_claim_say_how_to_copy(steno: Steno, objects: Objects):
    objects.job("standup", uri="pvc://results/a")
    directory = f"pvc://results/a/{objects.namespace}/standup/uid"
    artifact = {"format": "txt", "uri": f"{directory}/transcript.txt", "sha256": "0", "bytes": 1}
    results = {"manifest": f"{directory}/manifest.json", "artifacts": [artifact]}
    objects.status("transcriptionjobs", "standup", phase="Succeeded", conditions=COMPLETE, results=results)
    done = steno("results", "standup")
    assert_refused(done, 69, "the results are on the PersistentVolumeClaim results")
    assert f"kubectl -n {objects.namespace} cp POD:MOUNTPATH/a/{objects.namespace}/standup/uid standup" in done.stderr


def test_a_job_without_results(steno: Steno, objects: Objects):
    objects.job("standup")
    assert_refused(steno("results", "standup"), 75, "has no results yet (Pending")
    failed = {"Failed": ("True", "Encrypted", "Give a copy that is not.")}
    objects.status("transcriptionjobs", "standup", phase="Failed", conditions=failed)
    assert_refused(
        steno("results", "standup"), 66, "has no results: transcriptionjob/standup failed: Encrypted: Give a"
    )
