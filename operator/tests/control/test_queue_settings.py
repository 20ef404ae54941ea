"""The queue server in the operator's settings: what it is told, and what it does not start with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pydantic
import pytest

from steno_operator.plan.common.policy import QueuePolicy
from steno_operator.settings import Settings

URL = "rediss://redis.queue.svc:6379/0"


def policy(queue: dict[str, Any] | None, **more: Any) -> QueuePolicy | None:
    text = "" if queue is None else json.dumps(queue)
    return Settings(runtime_image="r:1", report_url="http://operator", queue=text, **more).policy().queue


def test_without_one_there_is_none() -> None:
    assert policy(None) is None


def test_credentials_and_the_ca_are_those_of_its_directory(tmp_path: Path) -> None:
    given = {"kind": "RedisStreams", "url": URL, "visibilitySeconds": 20}
    bare = policy(given)
    assert bare is not None
    assert (bare.settings.credentials_dir, bare.settings.ca_file, bare.silence.total_seconds()) == (None, None, 60)
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "..data").mkdir()
    trusting = policy(given, queue_dir=str(tmp_path))
    assert trusting is not None
    assert (trusting.settings.credentials_dir, trusting.settings.ca_file) == (None, tmp_path / "ca.crt")
    (tmp_path / "password").write_text("secret")
    whole = policy(given, queue_dir=str(tmp_path), queue_pool_secret="pools")
    assert whole is not None
    assert (whole.settings.credentials_dir, whole.pool_secret) == (tmp_path, "pools")
    assert whole.of_pool("ns", "docs").name == "steno/ns/docs"


@pytest.mark.parametrize(
    ("queue", "why"),
    [
        ({"kind": "Memory"}, "none that workers reach"),
        ({"kind": "RedisStreams", "url": "redis://redis.queue.svc:6379"}, "allowPlaintext"),
        ({"kind": "RedisStreams", "url": "rediss://user:pw@redis:6379"}, "credentials"),
        ({"kind": "Kafka"}, "kind"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(queue: dict[str, Any], why: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=why):
        policy(queue)
