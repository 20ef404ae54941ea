"""The termination message, its limits, and the exit codes."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steno_api.documents.manifest import PublishedArtifact, TranscriptionSummary
from steno_api.failures import EXIT_CODES, FailureReason, class_of_exit_code
from steno_api.worker.termination import Failed, Succeeded, TerminationMessage
from steno_runtime.errors import Stopped, WorkError, is_out_of_memory
from steno_runtime.worker.termination import STOPPED, TerminationWriter, encode, exit_code, failure


def success(uri: str = "s3://transcripts/a/b/uid") -> Succeeded:
    summary = TranscriptionSummary(
        duration=3600.0, language="ko", segments=812, speakers=4, words=9000, confidence=0.91, processing_seconds=250.5,
        speed=14.2, model="large-v3", device="cuda",
    )  # fmt: skip
    artifacts = [
        PublishedArtifact(format=fmt, name=f"transcript.{fmt}", sha256="f" * 64, bytes=10**9)
        for fmt in ("json", "srt", "vtt", "txt")
    ]
    return Succeeded(manifest=f"{uri}/manifest.json", artifacts=artifacts, summary=summary)


@given(st.sampled_from(FailureReason), st.text(max_size=1500))
def test_a_failure_always_fits_and_is_always_valid(reason, message):
    data = encode(Failed(reason=reason, message=message))
    assert len(data) <= 4096
    written = TerminationMessage.model_validate_json(data).result
    assert isinstance(written, Failed)
    assert written.reason is reason
    assert message.startswith(written.message.removesuffix("…")) or written.message == message


@pytest.mark.parametrize("character", ["한", "\x01", "😀", '"', "x"])
def test_the_worst_messages_fit(character):
    message = character * 1500
    data = encode(Failed(reason=FailureReason.INTERNAL, message=message))
    assert len(data) <= 4096
    assert len(TerminationMessage.model_validate_json(data).result.message) > 500


def test_a_success_with_the_longest_uri_the_api_allows_fits():
    result = success("s3://" + "b" * 1019 + "/" + "n" * 63 + "/" + "j" * 253 + "/" + "u" * 36)
    assert TerminationMessage.model_validate_json(encode(result)).result == result


def test_a_uri_beyond_all_limits_is_still_a_valid_message():
    written = TerminationMessage.model_validate_json(encode(success("s3://" + "b" * 5000))).result
    assert isinstance(written, Failed)


def test_the_first_result_counts(tmp_path):
    writer = TerminationWriter(str(tmp_path / "log"))
    barrier, counted = threading.Barrier(2), []

    def write(result):
        barrier.wait()
        counted.append(writer.write(result))

    threads = [threading.Thread(target=write, args=(result,)) for result in (success(), STOPPED)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted[0] == counted[1]
    assert TerminationMessage.model_validate_json((tmp_path / "log").read_bytes()).result == counted[0]


def test_a_message_that_cannot_be_written_breaks_nothing(tmp_path):
    assert TerminationWriter(str(tmp_path / "none" / "log")).write(STOPPED) == STOPPED


def test_exit_codes_tell_the_class():
    assert exit_code(success()) == 0
    assert exit_code(STOPPED) == 143
    for reason in FailureReason:
        code = exit_code(Failed(reason=reason, message=""))
        assert code == EXIT_CODES[reason.failure_class]
        assert class_of_exit_code(code) is reason.failure_class


class FakeTorchError(RuntimeError):
    pass


FakeTorchError.__name__ = "OutOfMemoryError"


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (WorkError(FailureReason.SOURCE_FORBIDDEN, "no"), FailureReason.SOURCE_FORBIDDEN, 64),
        (WorkError(FailureReason.OUTPUT_UNAVAILABLE, "no"), FailureReason.OUTPUT_UNAVAILABLE, 75),
        (MemoryError(), FailureReason.OUT_OF_MEMORY, 71),
        (FakeTorchError("Tried to allocate 2 GiB"), FailureReason.OUT_OF_MEMORY, 71),
        (RuntimeError("CUDA failed with error out of memory"), FailureReason.OUT_OF_MEMORY, 71),
        (RuntimeError("CUDA out of memory. Tried to"), FailureReason.OUT_OF_MEMORY, 71),
        (RuntimeError("std::bad alloc"), FailureReason.OUT_OF_MEMORY, 71),
        (RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"), FailureReason.OUT_OF_MEMORY, 71),
        (OSError(12, "Cannot allocate memory"), FailureReason.OUT_OF_MEMORY, 71),
        (ValueError("the secret text of the meeting"), FailureReason.INTERNAL, 70),
        (KeyboardInterrupt(), FailureReason.INTERNAL, 70),
        (Stopped(), FailureReason.PREEMPTED, 143),
    ],
)
def test_what_an_exception_means(error, reason, code):
    result = failure(error)
    assert result.reason is reason
    assert exit_code(result) == code
    assert "secret text" not in result.message
    assert "Traceback" not in result.message


def test_numpy_says_memory_error_too():
    import numpy as np

    with pytest.raises(MemoryError) as caught:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


def test_the_wire_format_is_what_the_operator_reads():
    wire = json.loads(encode(Failed(reason=FailureReason.TOO_LARGE, message="m")))
    assert wire == {"result": {"outcome": "Failed", "reason": "TooLarge", "message": "m"}}
