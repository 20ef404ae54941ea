"""Bodies of web servers that are compressed, cut, or without end."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from runtime.tests.conftest import LOOPBACK
from steno_api.failures import FailureReason
from steno_api.worker.task import TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage import fetch

from .test_web import DATA, failure, read, respond

MIB = 1 << 20


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_is_not_encoded_as_it_says_is_the_sources_fault(web, tmp_path, encoding):
    web.serve("/a.wav", DATA, Content_Encoding=encoding)
    error = failure(f"{web.url}/a.wav", tmp_path)
    assert error.reason is FailureReason.SOURCE_UNAVAILABLE
    assert encoding in error.message
    assert "Content-Encoding" in error.message


def test_an_encoded_body_that_is_broken_once_is_read_the_next_time(web, tmp_path):
    replies = [b"not gzip", gzip.compress(DATA)]

    def answer(handler):
        respond(200, replies.pop(0), Content_Encoding="gzip")(handler)

    web.routes["/a.wav"] = answer
    assert read(f"{web.url}/a.wav", tmp_path) == DATA


def deflated(data: bytes) -> bytes:
    """Deflate without a header, which some servers send."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(DATA)),
        ("X-GZIP", gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:]) + bytes(7)),
        ("deflate", zlib.compress(DATA)),
        ("deflate", deflated(DATA)),
    ],
)
def test_a_compressed_body_is_read_although_none_was_requested(web, tmp_path, encoding, body):
    url = web.serve("/a.wav", body, Content_Encoding=encoding)
    assert read(url, tmp_path) == DATA


def test_a_compressed_body_that_is_cut_is_not_taken_for_a_whole_one(web, tmp_path):
    url = web.serve("/a.wav", gzip.compress(DATA)[:-400], Content_Encoding="gzip")
    assert "ends in the middle" in failure(url, tmp_path).message


@pytest.mark.parametrize("encoding", ["gzip, gzip", "br", "gzip,identity"])
def test_compression_of_another_kind_or_in_layers_is_refused(web, tmp_path, encoding):
    url = web.serve("/a.wav", gzip.compress(gzip.compress(DATA)), Content_Encoding=encoding)
    assert failure(url, tmp_path).reason is FailureReason.INVALID_SPEC


def test_h4_a_body_that_grows_a_thousandfold_takes_no_memory(web, tmp_path):
    url = web.serve("/a.wav", gzip.compress(bytes(200 * MIB), 9), Content_Encoding="gzip")
    source = TaskSource(uri=url, max_bytes=100 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(WorkError) as caught:
            fetch(source, tmp_path, check=lambda: None, on_bytes=lambda *_: None, egress=LOOPBACK)
        assert tracemalloc.get_traced_memory()[1] < 20 * MIB
    finally:
        tracemalloc.stop()
    assert caught.value.reason is FailureReason.TOO_LARGE
