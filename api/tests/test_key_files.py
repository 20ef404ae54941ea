"""Files with API keys: what is written, what is noticed, and what happens when they cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steno_api.gateway.api_keys import NewApiKey, Scope, new_api_key
from steno_api.gateway.key_files import KeyFile, KeyFileError, change_entries, read_entries
from steno_api.server.errors import ApiError


def key(**changes: object) -> NewApiKey:
    fields = {"tenant": "acme", "namespace": "local", "scopes": frozenset(Scope), "created": datetime.now(UTC)}
    return new_api_key(**(fields | changes))  # pyright: ignore[reportArgumentType]


def write(path: Path, *made: NewApiKey) -> None:
    change_entries(path, {each.record.id: each.record.to_json() for each in made})


def code(ask: Callable[[], object]) -> str:
    with pytest.raises(ApiError) as caught:
        ask()
    return caught.value.status.code


@pytest.fixture(params=["file", "directory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    if request.param == "directory":
        path.mkdir()
    return path


def test_a_key_is_known_until_it_is_revoked(path: Path):
    first, second = key(), key()
    write(path, first)
    file = KeyFile(path)
    assert file.keys.authenticate(first.key).tenant == "acme"
    assert code(lambda: file.keys.authenticate(second.key)) == "KeyInvalid"
    write(path, second)
    change_entries(path, {first.record.id: None})
    file.look()
    assert file.keys.authenticate(second.key) == second.record
    assert code(lambda: file.keys.authenticate(first.key)) == "KeyInvalid"
    assert not file.keys.is_known(first.record.id)
    assert list(read_entries(path)) == [second.record.id]
    assert not list(path.parent.rglob(".*")), "no draft is left"


def test_no_key_is_in_the_file(tmp_path: Path):
    made = key()
    write(tmp_path / "new" / "keys.json", made)
    assert made.key not in (tmp_path / "new" / "keys.json").read_text()


def test_permissions_stay(tmp_path: Path):
    path = tmp_path / "keys.json"
    write(path, key())
    path.chmod(0o640)
    write(path, key())
    assert path.stat().st_mode & 0o777 == 0o640
    assert len(json.loads(path.read_text())) == 2


def test_an_expired_key_is_refused(path: Path):
    made = key(expires=datetime.now(UTC) - timedelta(seconds=1))
    write(path, made)
    file = KeyFile(path)
    assert code(lambda: file.keys.authenticate(made.key)) == "KeyExpired"
    assert not file.keys.is_known(made.record.id)


@pytest.mark.parametrize("text", ["{", "[]", "", "[" * 100_000])
def test_a_file_that_is_half_written_is_tolerated_once(tmp_path: Path, text: str):
    path, made = tmp_path / "keys.json", key()
    write(path, made)
    file = KeyFile(path)
    path.write_text(text)
    file.look()
    assert file.keys.authenticate(made.key)
    file.look()
    assert code(lambda: file.keys.authenticate(made.key)) == "KeyInvalid"
    path.unlink()
    write(path, made)
    file.look()
    assert file.keys.authenticate(made.key)
    path.write_text(text)
    with pytest.raises(KeyFileError):
        KeyFile(path)


def test_a_record_that_is_none_costs_no_other(path: Path):
    made = key()
    write(path, made)
    change_entries(path, {"abcdefgh": json.dumps({"id": "abcdefgh"})})
    assert KeyFile(path).keys.authenticate(made.key)
