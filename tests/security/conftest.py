"""Fixtures of the attacks: recordings, and a server process with sessions that are held beside them."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.tests.conftest import media, sample_wav
from runtime.tests.serve.conftest import TokenIssuer
from runtime.tests.serve.process import Process, pool_task
from runtime.tests.serve.scripted import WORD, WORD_BYTES
from tests.support.properties import LONG

from .paired import Crossover, Stage

__all__ = ["issuer", "media", "sample_wav"]


@pytest.fixture(scope="module")
def issuer() -> TokenIssuer:
    return TokenIssuer()


@pytest.fixture(scope="module", params=["scripted", "real"] if LONG else ["scripted"])
def stage(
    request: pytest.FixtureRequest, issuer: TokenIssuer, sample_wav: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """A server whose engine takes a GPU's time and no CPU, so that seconds are enough; at length, a real one, too."""
    folder = tmp_path_factory.mktemp("server")
    real = request.param == "real"
    module = "steno_runtime.serve" if real else "tests.security.scripted_server"
    task = json.dumps(pool_task(issuer, folder, maxSessions=8))
    process = Process(folder / "server.log", "--task", task, module=module)
    try:
        if real:
            with wave.open(str(sample_wav)) as file:
                pcm = file.readframes(file.getnframes())
            lines = sample_wav.with_suffix(".stm").read_text().splitlines()
            words = " ".join(line.split(maxsplit=5)[5] for line in lines)
            yield Stage(process, issuer, Crossover(pairs=6, seconds=20.0, settle=4.0), 2, pcm, words, 0.35)
        else:
            crossover = Crossover(pairs=60 if LONG else 9, seconds=1.2, settle=0.3)
            yield Stage(process, issuer, crossover, 4, bytes(10 * WORD_BYTES), " ".join([WORD] * 10), 0.0)
    finally:
        process.process.kill()
        process.process.wait()
