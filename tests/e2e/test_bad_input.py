"""Bad input ends as Failed, at once, with its own reason and a message that says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.kube import SOURCES, Kube, Store, condition, is_true

CASES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "corrupt": ("corrupt.mp3", {}, "UnsupportedMedia", "Export or upload"),
    "empty": ("empty.wav", {}, "UnsupportedMedia", "empty"),
    "text": ("text.wav", {}, "UnsupportedMedia", "text"),
    "film": ("film.mp4", {}, "UnsupportedMedia", "audio"),
    "missing": ("no-such-file.wav", {}, "SourceNotFound", "no-such-file.wav"),
    "no-bucket": ("s3://no-such-bucket/sample.wav", {}, "SourceNotFound", "no-such-bucket"),
    "no-model": ("sample.wav", {"model": {"name": "no-such-model"}}, "ModelNotFound", "no-such-model"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(kube: Kube, case: str) -> None:
    source, spec, reason, named = CASES[case]
    kube.transcribe(case, source, **spec)
    assert_refused(kube, case, reason, named)


def test_a_forbidden_source(kube: Kube, store: Store) -> None:
    wrong = store.secret("wrong", AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="wrong")
    kube.core.create_namespaced_secret(kube.namespace, wrong)
    job = kube.job("forbidden", "sample.wav")
    job["spec"]["source"]["secretRef"]["name"] = "wrong"
    kube.custom.create_namespaced_custom_object("steno.dev", "v1alpha1", kube.namespace, "transcriptionjobs", job)
    assert_refused(kube, "forbidden", "SourceForbidden", "sample.wav")


def test_a_missing_and_a_forbidden_url(kube: Kube, store: Store) -> None:
    kube.transcribe("url-missing", store.presigned("no-such-file.wav"))
    kube.transcribe("url-forbidden", f"{store.inside}/{SOURCES}/sample.wav")
    assert_refused(kube, "url-missing", "SourceNotFound", "no-such-file.wav")
    assert_refused(kube, "url-forbidden", "SourceForbidden", "sample.wav")
    assert "X-Amz" not in condition(kube.get("url-missing"), "Failed")["message"]


def test_an_output_bucket_that_does_not_exist(kube: Kube) -> None:
    job = kube.job("no-output", "sample.wav")
    job["spec"]["output"]["uri"] = "s3://no-such-results"
    kube.custom.create_namespaced_custom_object("steno.dev", "v1alpha1", kube.namespace, "transcriptionjobs", job)
    assert_refused(kube, "no-output", "OutputNotFound", "no-such-results")


def assert_refused(kube: Kube, name: str, reason: str, named: str) -> None:
    """Failed with its reason, a helpful message, no retry, and kstatus' Stalled."""
    job = kube.done(name)
    failed = condition(job, "Failed")
    assert is_true(job, "Failed")
    assert failed["reason"] == reason
    assert named in failed["message"]
    assert "Traceback" not in failed["message"]
    assert job["status"]["phase"] == "Failed"
    assert is_true(job, "Stalled")
    assert job["status"]["attempt"] == 1
    assert len(kube.children(name)) == 1
    assert "results" not in job["status"]
