"""API keys: their form, their records, and that neither says what the key is."""

from datetime import UTC, datetime, timedelta

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.gateway.api_keys import (
    MAX_API_KEY_CHARS,
    ApiKeyLimits,
    NewApiKey,
    Scope,
    api_key_id,
    new_api_key,
    read_records,
    secret_manifest,
)
from steno_api.gateway.known_keys import ApiKeys

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(**changes) -> NewApiKey:
    values = {"tenant": "acme", "namespace": "team-a", "scopes": frozenset({Scope.STT}), "created": NOW}
    return new_api_key(**{**values, **changes})


def test_the_record_is_found_by_the_key_and_matches_it_alone():
    (key, record), (other, _) = made(), made()
    assert api_key_id(key) == record.id
    assert record.matches(key)
    assert not record.matches(other)
    assert len(key) <= MAX_API_KEY_CHARS


def test_a_record_does_not_say_the_key():
    key, record = made(description="the meeting room")
    assert key.rpartition("_")[2] not in record.to_json()


@given(st.text(max_size=200) | st.from_regex(r"steno_.*", fullmatch=True))
def test_what_has_another_form_is_no_key(text):
    key_id = api_key_id(text)
    assert key_id is None or text.startswith(f"steno_{key_id}_")


@pytest.mark.parametrize(
    "spoil", [str.upper, lambda key: key + "a", lambda key: key[:-1], lambda key: f" {key}", lambda key: key + "\n"]
)
def test_a_spoilt_key_is_none(spoil):
    assert api_key_id(spoil(made().key)) is None


def test_a_key_expires():
    record = made(expires=NOW + timedelta(days=1)).record
    assert record.is_valid(NOW)
    assert not record.is_valid(NOW + timedelta(days=1))
    assert made().record.is_valid(NOW + timedelta(days=10_000))


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "tenant_abc"},
        {"namespace": "Team A"},
        {"namespace": "a" * 64},
        {"scopes": frozenset()},
        {"tenant": "acme\n"},
    ],
)
def test_values_without_a_legal_form_are_refused(changes):
    with pytest.raises(pydantic.ValidationError):
        made(**changes)


def test_records_survive_the_secret():
    records = {made().record.id: made().record for _ in range(3)}
    records = {record.id: record for record in records.values()}
    entries = secret_manifest("steno-api-keys", "steno", records)["stringData"]
    assert read_records({name: text.encode() for name, text in entries.items()}) == (records, [])


def test_a_key_has_a_webhook_secret_only_if_it_is_asked_for():
    assert made().record.webhook_secret is None
    keys, (one, other) = ApiKeys(), (made(webhooks=True).record for _ in range(2))
    assert one.webhook_secret is not None
    assert one.webhook_secret != other.webhook_secret
    assert one.webhook_secret not in repr(one)
    assert not keys.sign_webhooks
    keys.update("secret", {one.id: one.to_json().encode()})
    assert keys.sign_webhooks
    assert keys.webhook_secret(one.id) == one.webhook_secret
    keys.update("secret", {})
    assert keys.webhook_secret(one.id) is None


def test_a_damaged_record_costs_no_other():
    record = made(limits=ApiKeyLimits(requests_per_minute=5)).record
    text = record.to_json().encode()
    records, damaged = read_records({record.id: text, "renamed": text, "cut": text[:20], "bytes": b"\xff\xfe"})
    assert records == {record.id: record}
    assert sorted(damaged) == ["bytes", "cut", "renamed"]
