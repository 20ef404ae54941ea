from __future__ import annotations

import hashlib
import socket

import pytest
from huggingface_hub.utils import reset_sessions
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from steno_api.failures import FailureClass, FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.models.store import WHISPER_FILES, find, whisper


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "models" / "whisper-tiny"
    folder.mkdir(parents=True)
    lines = []
    for name in WHISPER_FILES:
        (folder / name).write_text(name)
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n")
    (folder / "SHA256SUMS").write_text("".join(lines))
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    connect = socket.socket.connect

    def refuse(self, address):
        assert address[0] == "127.0.0.1", "the network was asked"
        return connect(self, address)

    monkeypatch.setattr("socket.socket.connect", refuse)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    reset_sessions()  # each knows whether it was made offline
    yield
    reset_sessions()


@pytest.mark.parametrize("name", ["whisper-tiny", "tiny"])
def test_what_the_store_has_is_found_by_either_name(store, name):
    assert whisper(store, name) == store / "whisper-tiny"


def test_a_directory_is_found_by_its_path(store, tmp_path):
    assert whisper(tmp_path / "nowhere", str(store / "whisper-tiny")) == store / "whisper-tiny"


def test_an_unknown_name_says_what_the_store_has(store):
    with pytest.raises(WorkError) as error:
        whisper(store, "my-model")
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND
    assert "my-model" in error.value.message
    assert "whisper-tiny" in error.value.message
    assert str(store) in error.value.message


@pytest.mark.parametrize("name", ["../models/whisper-tiny", "whisper-tiny/..", ".", ".hidden"])
def test_a_name_does_not_leave_the_store(store, name):
    assert find(store, name, WHISPER_FILES) is None


def test_a_missing_file_is_named(store):
    (store / "whisper-tiny" / "tokenizer.json").unlink()
    with pytest.raises(WorkError, match=r"tokenizer\.json") as error:
        whisper(store, "whisper-tiny")
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND


def test_a_damaged_file_is_refused(store):
    (store / "whisper-tiny" / "model.bin").write_text("model.biN")
    with pytest.raises(WorkError, match=r"model\.bin") as error:
        whisper(store, "whisper-tiny")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE


def test_without_digests_files_are_taken_as_they_are(store):
    (store / "whisper-tiny" / "SHA256SUMS").unlink()
    (store / "whisper-tiny" / "model.bin").write_text("other")
    assert whisper(store, "whisper-tiny") == store / "whisper-tiny"


def test_an_unreachable_hub_is_the_environments_fault(store, offline):
    with pytest.raises(WorkError) as error:
        whisper(store, "large-v3")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE
    assert "large-v3" in error.value.message


def test_a_hub_that_refuses_a_name_is_not_asked_again(hub, store):
    hub.refuse("acme/secret", 401, X_Error_Message="Invalid credentials in Authorization header")
    with pytest.raises(WorkError, match="acme/secret") as error:
        whisper(store, "acme/secret", "Any")
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND
    assert "HF_TOKEN" in error.value.message
    assert len(hub.web.requests) == 1


def test_a_hub_that_fails_is_the_environments_fault(hub, store):
    hub.refuse("acme/model", 503)
    with pytest.raises(WorkError) as error:
        whisper(store, "acme/model", "Any")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE


def test_a_model_of_the_hub_is_downloaded_once(hub, store):
    hub.serve("acme/model", {name: name.encode() for name in WHISPER_FILES})
    folder = whisper(store, "acme/model", "Any")
    assert {path.name for path in folder.iterdir()} == set(WHISPER_FILES)
    asked = len(hub.web.requests)
    assert whisper(store, "acme/model", "Any") == folder
    assert len(hub.web.requests) == asked


@pytest.mark.parametrize(
    "name",
    [
        "./x",
        "../x",
        "a/..",
        "a--b/c",
        "a/b.",
        "a b/c",
        "x" * 250,
        f"a/{'b' * 200}",
        "a\0/b",
        "/",
        "//",
        "/\0",
    ],
)
def test_an_impossible_name_is_the_users_to_correct(store, offline, name):
    with pytest.raises(WorkError) as error:
        whisper(store, name)
    assert error.value.reason is FailureReason.MODEL_NOT_FOUND


ODD = st.text(st.sampled_from("./\\-_~ :@%\0\nab모A0"), min_size=1, max_size=12)
NAMES = ODD | st.builds("/".join, st.lists(st.sampled_from(["..", ".", "", "whisper-tiny", "outside", "models"]) | ODD))


@given(name=NAMES)
@example(name="\n/0")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_name_nothing_outside_of_the_store_is_read(store, offline, name):
    assume(not name.startswith("/"))  # an absolute path is meant to lead wherever it leads
    outside = store.parent / "outside"
    outside.mkdir(exist_ok=True)
    for file in WHISPER_FILES:
        (outside / file).write_text("not for you")
    try:
        found = whisper(store, name)
    except WorkError as error:
        found = error.reason
    assert found in (FailureReason.MODEL_NOT_FOUND, FailureReason.MODEL_UNAVAILABLE, store / "whisper-tiny")


def test_a_store_that_cannot_be_read_says_so(store, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(store / "whisper-tiny"))

    monkeypatch.setattr("steno_runtime.models.store.Path.is_dir", refuse)
    with pytest.raises(WorkError, match="Permission denied") as error:
        whisper(store, "whisper-tiny")
    assert error.value.reason is FailureReason.MODEL_UNAVAILABLE


def digest_of(folder):
    return hashlib.sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()


def test_l13_a_model_with_the_digest_of_the_profile_is_found(store):
    folder = store / "whisper-tiny"
    digests = {"whisper-tiny": digest_of(folder)}
    assert whisper(store, "tiny", digests=digests) == folder
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").write_text("of the hub's client")
    assert find(store, "whisper-tiny", WHISPER_FILES, digests) == folder
    assert whisper(store, str(folder), digests=digests) == folder


def add(folder):
    (folder / "preprocessor_config.json").write_text("{}")


def remove(folder):
    (folder / "extra.json").unlink()


def change(folder):
    (folder / "model.bin").write_text("forged")


def change_with_its_digest(folder):
    change(folder)
    sums = (folder / "SHA256SUMS").read_text()
    old, new = (hashlib.sha256(text.encode()).hexdigest() for text in ("model.bin", "forged"))
    (folder / "SHA256SUMS").write_text(sums.replace(old, new))


def remove_digests(folder):
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize("attack", [add, remove, change, change_with_its_digest, remove_digests])
def test_l13_who_may_write_the_store_cannot_change_a_model_that_is_pinned(store, attack):
    """Also while the process runs, which has read the model before."""
    folder = store / "whisper-tiny"
    (folder / "extra.json").write_text("{}")
    with (folder / "SHA256SUMS").open("a") as file:
        file.write(f"{hashlib.sha256(b'{}').hexdigest()} *./extra.json\n")
    digests = {"whisper-tiny": digest_of(folder)}
    assert whisper(store, "tiny", digests=digests) == folder
    attack(folder)
    with pytest.raises(WorkError, match="'whisper-tiny' of the store is not used") as error:
        whisper(store, "tiny", digests=digests)
    assert error.value.reason is FailureReason.MODEL_MISMATCH
    assert error.value.reason.failure_class is FailureClass.USER


def test_l13_of_a_profile_with_digests_no_other_model_of_the_store_is_used(store):
    with pytest.raises(WorkError, match="does not name it") as error:
        whisper(store, "tiny", digests={"large-v3": "0" * 64})
    assert error.value.reason is FailureReason.MODEL_MISMATCH
    assert find(store, "absent", WHISPER_FILES, {"large-v3": "0" * 64}) is None
