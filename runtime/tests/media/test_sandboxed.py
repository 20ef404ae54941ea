"""Recordings decoded in the sandbox: the same samples, and no end but their own for what FFmpeg makes of them."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_runtime import sandbox
from steno_runtime.errors import Stopped, WorkError
from steno_runtime.media.channels import read_recording
from steno_runtime.media.sandboxed import MODULES, _parse, read_recording_sandboxed
from steno_runtime.media.tracks import Selection
from steno_runtime.sandbox import ProtocolFault, Reply

from .recordings import RATE, write


@pytest.fixture(scope="module", autouse=True)
def imported_once() -> None:
    sandbox.prepare(*MODULES)


def go_on() -> None:
    pass


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "ogg", "webm"])
def test_the_samples_are_those_of_the_decoder(media, extension):
    shares: list[float] = []
    here = read_recording(media[extension], check=go_on)
    there = read_recording_sandboxed(media[extension], check=go_on, on_progress=shares.append)
    np.testing.assert_array_equal(there.samples, here.samples)
    assert there.duration == here.duration
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


def test_channels_and_warnings_arrive(tmp_path):
    path = tmp_path / "a.wav"
    time_ = np.arange(2 * RATE) / RATE
    tone = (0.001 * np.sin(2 * np.pi * 440 * time_)).astype(np.float32)
    write(path, np.stack([tone, np.zeros_like(tone)]), "pcm_s16le", layout="stereo")
    here: list[ResultWarning] = []
    there: list[ResultWarning] = []
    split = Selection(split=True)
    expected = read_recording(path, check=go_on, on_warning=here.append, selection=split)
    found = read_recording_sandboxed(path, check=go_on, on_warning=there.append, selection=split)
    assert there == here
    assert WarningReason.SILENT_TRACK in {warning.reason for warning in there}
    assert (found.channels, found.starts, found.duration) == (expected.channels, expected.starts, expected.duration)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"RIFF\0\0\0\0WAVEfmt ", os.urandom(4096)])
def test_what_cannot_be_read_has_the_same_message(tmp_path, data):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(WorkError) as here:
        read_recording(path, check=go_on)
    with pytest.raises(WorkError) as there:
        read_recording_sandboxed(path, check=go_on)
    assert (there.value.reason, there.value.message) == (here.value.reason, here.value.message)


def test_limits_hold(sample_wav):
    with pytest.raises(WorkError, match="at lunch") as caught:
        read_recording_sandboxed(sample_wav, check=go_on, max_seconds=15.0, too_long="Split it at lunch.")
    assert caught.value.reason is FailureReason.TOO_LARGE


def crash(_emit: Any, **_: Any) -> Reply:
    """End as an access out of bounds does."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return Reply()


def test_a_crash_of_the_decoder_is_the_recordings_end(sample_wav, monkeypatch):
    monkeypatch.setattr("steno_runtime.media.sandboxed._read", crash)
    with pytest.raises(WorkError, match="crashed") as caught:
        read_recording_sandboxed(sample_wav, check=go_on)
    assert caught.value.reason is FailureReason.UNSUPPORTED_MEDIA
    monkeypatch.undo()
    assert len(read_recording_sandboxed(sample_wav, check=go_on).samples) == 30 * 16_000


def test_a_stop_is_noticed(sample_wav):
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        read_recording_sandboxed(sample_wav, check=stop)


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        (np.zeros(0, np.float32), {}),
        (np.zeros(16, np.uint8), {}),
        (np.zeros((4, 4), np.float32), {}),
        (np.full(16, np.nan, np.float32), {}),
        (np.full(16, 2.0, np.float32), {}),
        (np.zeros(16, np.float32), {"duration": 1e9}),
        (np.zeros(16, np.float32), {"duration": -1.0}),
        (np.zeros(16, np.float32), {"duration": "1"}),
        (np.zeros(16, np.float32), {"channels": [99], "starts": [0]}),
        (np.zeros(16, np.float32), {"channels": [1], "starts": []}),
        (np.zeros(16, np.float32), {"warnings": [{"reason": "Nonsense", "message": ""}]}),
    ],
)
def test_a_recording_that_cannot_be_is_not_believed(samples, value):
    whole = {"duration": 0.001, "channels": [], "starts": [], "warnings": []} | value
    with pytest.raises((ProtocolFault, ValueError)):
        _parse(Reply(whole, [samples]))
