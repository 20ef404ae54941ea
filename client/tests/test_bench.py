"""`steno bench` against a real server with a scripted engine, and the targets that it compares with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from runtime.tests.serve.conftest import StartServer, TokenIssuer, issuer, start_server
from steno_client.benchmark import load, targets
from steno_client.benchmark.targets import Measured, compare, percentile, table
from steno_client.cli import app

from .server import recording
from .test_ocr import TEXT, page

__all__ = ["issuer", "start_server"]


def run(*words: str, token: str = "") -> Result:
    return CliRunner().invoke(app, ["bench", *words], env={"STENO_TOKEN": token, "COLUMNS": "200"})


def cells(result: Result) -> dict[str, tuple[str, str]]:
    """Return the verdict and the figure of each target."""
    rows = [line.split("  ") for line in result.stdout.splitlines()[1:]]
    found = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {name: (verdict, figure) for name, _, verdict, figure in found}


async def test_sessions_and_documents(start_server: StartServer, issuer: TokenIssuer, tmp_path: Path):
    server = await start_server()
    tokens = tmp_path / "tokens"
    tokens.write_text("\n".join(issuer.token() for _ in range(3)))
    page(TEXT).save(tmp_path / "page.png", dpi=(200, 200))
    words = [
        "--url", f"http://127.0.0.1:{server.http_port}", "--recording", str(recording(tmp_path / "talk.wav")),
        "--page", str(tmp_path / "page.png"), "--streams", "3", "--seconds", "1", "--documents", "2",
        "--token-file", str(tokens),
    ]  # fmt: skip
    result = await asyncio.to_thread(run, *words)
    found = cells(result)
    assert result.exit_code == 1, result.output  # not a hundred streams
    assert found["live sessions at a time"] == ("FAIL", "3")
    assert found["failures"] == ("pass", "0.0% (0 of 5)")
    assert found["lag of live text, p95"][0] == "pass"
    assert found["time of a document, p99"][1].endswith("2)")
    assert found["GPU use, mean"] == ("-", "not measured")
    assert server.engine.sessions == {}

    tokens.write_text(f"{issuer.token()}\nnonsense\nnonsense")
    result = await asyncio.to_thread(run, *words[:4], *words[6:])
    assert cells(result)["failures"] == ("FAIL", "66.7% (2 of 3)")
    assert "2 failed: " in result.stderr
    assert "the token is missing, wrong or expired" in result.stderr


async def test_a_server_that_does_not_answer(tmp_path: Path, unused_tcp_port: int):
    words = ["--url", f"ws://127.0.0.1:{unused_tcp_port}", "--recording", str(recording(tmp_path / "talk.wav"))]
    result = await asyncio.to_thread(run, *words, "--streams", "2", "--seconds", "1")
    assert result.exit_code == 1
    assert cells(result)["failures"] == ("FAIL", "100.0% (2 of 2)")
    assert cells(result)["live sessions at a time"] == ("-", "not measured")


def test_what_is_missing_is_said(tmp_path: Path):
    result = run("--url", "ws://127.0.0.1:1")
    assert result.exit_code == 2
    assert "--recording" in result.stderr
    tokens = tmp_path / "tokens"
    tokens.write_text("a b")
    speech = str(recording(tmp_path / "talk.wav"))
    result = run("--url", "ws://127.0.0.1:1", "--recording", speech, "--streams", "3", "--token-file", str(tokens))
    assert result.exit_code == 64
    assert "2 tokens for 3 sessions" in result.stderr


def test_the_targets():
    good = Measured(100, [0.1, 0.29], [0.5, 1.9], 200, ["a"], [0.5, 0.9])
    assert [line.passed for line in compare(good)] == [True] * 5
    bad = Measured(99, [0.1, 0.3], [0.5, 2.0], 100, ["a"], [0.6])
    assert [line.passed for line in compare(bad)] == [False] * 5
    assert [line.passed for line in compare(Measured())] == [None] * 5
    assert "1.0% (1 of 100)" in table(compare(bad))
    assert all(len(line) < 120 for line in table(compare(good)).splitlines())


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float):
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


@pytest.mark.parametrize(
    ("spans", "most"), [([], 0), ([(0.0, 1.0)], 1), ([(0.0, 2.0), (1.0, 3.0), (2.0, 4.0)], 2), ([(0.0, 9.0)] * 3, 3)]
)
def test_sessions_at_a_time(spans: list[tuple[float, float]], most: int):
    assert load._most_at_a_time(spans) == most


async def test_gpus_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '80\\n[N/A]\\n60\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(load, "GPU_INTERVAL_SECONDS", 0.01)

    sampled = asyncio.Event()
    original = load._sample_gpus

    async def sample(shares: list[float]) -> None:
        class Watched(list[float]):
            def __iadd__(self, more):
                super().__iadd__(more)
                shares.extend(more)
                sampled.set()
                return self

        await original(Watched())

    monkeypatch.setattr(load, "_sample_gpus", sample)

    async def measure() -> Measured:
        await sampled.wait()
        return Measured(streams=1)

    found = await load.with_gpu_use(measure())
    assert (found.streams, list(found.gpu_shares[:2])) == (1, [0.8, 0.6])
    assert targets.compare(found)[-1].passed is True
