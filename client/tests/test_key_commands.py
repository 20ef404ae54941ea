"""`steno key` with a real API server."""

from __future__ import annotations

import base64
import json

import pytest

from steno_api.gateway.api_keys import read_records

from .conftest import Objects, Steno

pytestmark = pytest.mark.apiserver


def records(objects: Objects):
    answer = objects.server.request("GET", f"/api/v1/namespaces/{objects.namespace}/secrets/steno-api-keys")
    entries = {name: base64.b64decode(value) for name, value in (answer.body.get("data") or {}).items()}
    found, damaged = read_records(entries)
    assert not damaged
    return found


def test_a_key_is_shown_once_and_stored_as_a_digest(steno: Steno, objects: Objects):
    options = ["--tenant", "acme", "--for-namespace", "team-a", "--scopes", "stt,ocr", "--days", "30"]
    first = steno("key", "create", *options, "--description", "the meeting room")
    second = steno("key", "create", *options, "--requests-per-minute", "7")
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    found = records(objects)
    assert len(found) == 2
    key = first.stdout.strip()
    record = next(each for each in found.values() if each.matches(key))
    assert (record.tenant, record.namespace, sorted(record.scopes)) == ("acme", "team-a", ["ocr", "stt"])
    assert record.expires is not None
    assert (record.expires - record.created).days == 30
    assert key not in json.dumps({name: each.to_wire() for name, each in found.items()})
    assert next(each for each in found.values() if each is not record).limits.requests_per_minute == 7
    listed = steno("key", "list").stdout
    assert "the meeting room" in listed
    assert record.sha256 not in listed


def test_a_key_with_webhooks_comes_with_their_secret(steno: Steno, objects: Objects):
    made = steno("key", "create", "--tenant", "acme", "--for-namespace", "team-a", "--webhooks")
    assert made.exit_code == 0, made.output
    key, secret = made.stdout.split()
    record = next(each for each in records(objects).values() if each.matches(key))
    assert record.webhook_secret == secret
    assert secret not in steno("key", "list").output


def test_a_revoked_key_has_no_record(steno: Steno, objects: Objects):
    keys = [steno("key", "create", "--tenant", "acme", "--for-namespace", "a").stdout.strip() for _ in range(2)]
    kept, gone = sorted(records(objects).values(), key=lambda each: each.matches(keys[1]))
    answer = steno("key", "revoke", gone.id)
    assert answer.exit_code == 0, answer.output
    assert list(records(objects)) == [kept.id]
    again = steno("key", "revoke", gone.id)
    assert again.exit_code == 66
    assert "steno key list" in again.stderr
    assert steno("key", "revoke", keys[0]).exit_code == 0
    assert records(objects) == {}


def test_the_namespace_is_the_tenants_only_one(steno: Steno, objects: Objects):
    names = [f"{objects.namespace}-{suffix}" for suffix in ("one", "two")]
    for name, namespaces in zip(names, (["a"], ["b", "c"]), strict=True):
        body = {"apiVersion": "steno.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}}
        answer = objects.server.request(
            "POST", "/apis/steno.dev/v1alpha1/tenants", body | {"spec": {"namespaces": namespaces}}
        )
        assert answer.status == 201, answer.message
    try:
        assert steno("key", "create", "--tenant", names[0]).exit_code == 0
        assert [each.namespace for each in records(objects).values()] == ["a"]
        several = steno("key", "create", "--tenant", names[1])
        assert (several.exit_code, "b, c" in several.stderr) == (64, True)
        missing = steno("key", "create", "--tenant", "nobody-at-all")
        assert missing.exit_code == 66
    finally:
        for name in names:
            objects.server.request("DELETE", f"/apis/steno.dev/v1alpha1/tenants/{name}")


@pytest.mark.parametrize(
    "words",
    [["--tenant", "tenant_abc", "--for-namespace", "a"], ["--tenant", "a", "--for-namespace", "a", "--scopes", "all"]],
)
def test_what_has_no_legal_value_makes_no_key(steno: Steno, objects: Objects, words: list[str]):
    assert steno("key", "create", *words).exit_code == 64
    answer = objects.server.request("GET", f"/api/v1/namespaces/{objects.namespace}/secrets/steno-api-keys")
    assert answer.status == 404
