"""Sources that clients name by a path: in directories that the administrator has named, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conftest import GatewayProcess, bearer, running

ROOTS = [{"path": "/recordings", "claim": "recordings"}, {"path": "/srv/scans", "claim": "archive"}]


@pytest.fixture(scope="module")
def gateway(apiserver, s3, tmp_path_factory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("roots")
    with running(apiserver, s3, folder, apiserver.namespace(), sourceRoots=ROOTS) as process:
        yield process


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("/recordings/talk.wav", "pvc://recordings/talk.wav"),
        ("/recordings/2026/한글 talk.wav", "pvc://recordings/2026/한글 talk.wav"),
        ("/srv/scans/a.pdf", "pvc://archive/a.pdf"),
    ],
)
def test_a_path_in_a_root(gateway: GatewayProcess, path: str, uri: str):
    answer = gateway.client.post("/stt/process?async=true", headers=bearer(gateway.key().key), json={"audio_url": path})
    assert answer.status_code == 202, answer.text
    source = gateway.job(answer.json()["job_id"])["spec"]["source"]
    assert source == {"uri": uri}  # no credentials: the pod mounts the claim


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/etc/passwd", "SourceNotAllowed"),
        ("/recordings", "SourceNotAllowed"),
        ("/recordingsx/talk.wav", "SourceNotAllowed"),
        ("/srv/talk.wav", "SourceNotAllowed"),
        ("recordings/talk.wav", "InvalidRequest"),
        ("/recordings/../other/talk.wav", "InvalidRequest"),
        ("/recordings/./talk.wav", "InvalidRequest"),
        ("/recordings/", "InvalidRequest"),
        ("/recordings/folder/", "InvalidRequest"),
        ("//recordings/talk.wav", "SourceNotAllowed"),
        ("pvc://recordings/talk.wav", "InvalidRequest"),
        ("file:///recordings/talk.wav", "InvalidRequest"),
    ],
)
def test_no_other_path(gateway: GatewayProcess, path: str, code: str):
    before = len(gateway.jobs())
    key = gateway.key().key
    for url, field in (("/stt/process?async=true", "audio_url"), ("/ocr/process?async=true", "document_url")):
        answer = gateway.client.post(url, headers=bearer(key), json={field: path})
        assert answer.json().get("code") == code, answer.text
    assert len(gateway.jobs()) == before
