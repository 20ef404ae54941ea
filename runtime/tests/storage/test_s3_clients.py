"""Clients of S3 are kept from one attempt to the next, and never for other credentials than they were made with."""

from __future__ import annotations

import pytest

from runtime.tests.conftest import LOOPBACK
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskOutput
from steno_runtime.errors import WorkError
from steno_runtime.storage import open_output


@pytest.fixture
def secret(s3, tmp_path):
    return s3.credentials(tmp_path / "secret")


def opened(s3, secret, name="uid-1"):
    where = {"endpoint_url": s3.endpoint, "credentials_dir": secret}
    return open_output(TaskOutput(uri=f"s3://transcripts/kept/{name}", formats=["json"], **where), LOOPBACK)


def test_attempts_with_the_same_secret_use_the_same_client(s3, secret):
    first, second = opened(s3, secret), opened(s3, secret, "uid-2")
    assert first._store is second._store
    for output in (first, second):
        assert output.create("a.json", output.uri.encode(), "application/json")
        assert output.read("a.json") == output.uri.encode()


def test_a_secret_that_changes_makes_another_client_at_once(s3, secret, tmp_path):
    opened(s3, secret).check_writable()
    key = tmp_path / "secret" / "AWS_SECRET_ACCESS_KEY"
    right = key.read_text()
    key.write_text("another")
    with pytest.raises(WorkError) as refused:
        opened(s3, secret).check_writable()
    assert refused.value.reason is FailureReason.OUTPUT_FORBIDDEN
    key.write_text(right)
    opened(s3, secret).check_writable()


def test_another_folder_with_the_same_keys_is_another_secret(s3, secret, tmp_path):
    other = s3.credentials(tmp_path / "other")
    assert opened(s3, secret)._store is not opened(s3, other)._store


def test_a_kept_client_is_not_used_where_its_credentials_may_not_be_sent(s3, secret, tmp_path):
    opened(s3, secret).check_writable()
    (tmp_path / "secret" / "allowedPrefix").write_text("https://elsewhere.example/")
    with pytest.raises(WorkError, match="are not sent to"):
        opened(s3, secret)
