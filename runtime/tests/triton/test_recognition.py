"""OCR by a real Triton server: the text of one process, batches of many clients, a server that goes away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.ocr.engines.detector import LineDetector
from steno_runtime.ocr.engines.rapid import RapidEngine
from steno_runtime.ocr.pipeline import RecognitionOptions, RecognitionResult, recognize
from steno_runtime.triton import repository
from steno_runtime.triton.client import TritonClient, TritonServer
from tests.support import triton
from tests.support.certificates import Authority

from .pages import PAGES, document, page

pytestmark = pytest.mark.slow
CLIENTS = 16


def read(path, scratch, on_progress=lambda *_: None, **options) -> RecognitionResult:
    scratch.mkdir()
    chosen = RecognitionOptions(languages=("en",), engine="rapidocr", workers=1, sandboxed=False, **options)
    return recognize(path, chosen, scratch=scratch, on_progress=on_progress)


def test_pages_read_as_in_process(server, tmp_path):
    path = document(tmp_path / "two.tif")
    here = read(path, tmp_path / "here")
    there = read(path, tmp_path / "there", triton=TritonServer.from_url(server.url))
    for one, other, lines in zip(here.pages, there.pages, PAGES, strict=True):
        assert other.text == one.text
        assert other.confidence == pytest.approx(one.confidence, abs=1e-3)
        assert "".join(other.text.split()) == "".join("".join(lines).split())
        for a, b in zip(one.regions, other.regions, strict=True):
            assert np.abs(np.array(a.polygon) - np.array(b.polygon)).max() <= 1


def test_lines_are_found_as_in_process(server):
    image = np.asarray(page(0))
    client = TritonClient(TritonServer.from_url(server.url))
    here, there = LineDetector().find(image), LineDetector(triton=client).find(image)
    client.close()
    assert len(here) == len(there) == len(PAGES[0])
    for (quad, _), (other, _) in zip(here, there, strict=True):
        assert np.abs(np.array(quad) - np.array(other)).max() <= 1


def test_sixteen_clients_run_in_batches(server):
    before = {model: server.executions(model) for model in (repository.DETECTION, repository.RECOGNITION)}
    image, quality, together = np.asarray(page(1)), None, Barrier(CLIENTS)

    def one(_: int) -> list[str]:
        client = TritonClient(TritonServer.from_url(server.url))
        together.wait()
        lines = RapidEngine(triton=client).recognize(image, ("en",), quality)
        client.close()
        return [line.text for line in lines]

    with ThreadPoolExecutor(CLIENTS) as pool:
        texts = list(pool.map(one, range(CLIENTS)))
    assert all(text == texts[0] for text in texts)
    assert len(texts[0]) == len(PAGES[1])
    for model, rows in ((repository.DETECTION, CLIENTS), (repository.RECOGNITION, CLIENTS * len(PAGES[1]))):
        counted, executions = (
            after - earlier for after, earlier in zip(server.executions(model), before[model], strict=True)
        )
        assert counted == rows
        assert executions < rows / 1.5, f"{rows} rows of {model} ran in {executions} executions"


def test_a_server_with_tls_that_is_killed_mid_way(models, tmp_path):
    path = document(tmp_path / "four.tif", copies=2)
    certificate, stranger = Authority().write(tmp_path / "tls", "127.0.0.1"), tmp_path / "other.crt"
    stranger.write_bytes(Authority().pem)
    seen: list[int] = []
    with triton.serve(models, tmp_path / "triton.log", certificate=certificate) as own:
        url = f"grpcs://{own.url}"
        with pytest.raises(WorkError, match="cannot be reached"):
            read(path, tmp_path / "refused", triton=TritonServer.from_url(url, ca_file=stranger))

        def kill(update) -> None:
            seen.append(update.pages)
            if update.pages == 1:
                own.process.kill()
                own.process.wait()

        server = TritonServer.from_url(url, ca_file=own.ca_file)
        with pytest.raises(WorkError, match="cannot be reached") as caught:
            read(path, tmp_path / "scratch", on_progress=kill, triton=server)
    assert 1 in seen
    assert 4 not in seen
    assert caught.value.reason is FailureReason.MODEL_UNAVAILABLE
