"""A real Triton server with the exported models, one for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from steno_runtime.triton import repository
from tests.support import triton
from tests.support.triton import TritonProcess


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory):
    """A model repository for servers with the Python backend alone."""
    folder = tmp_path_factory.mktemp("triton") / "models"
    repository.export(folder, repository.ExportOptions(backend="python"))
    return folder


@pytest.fixture(scope="session")
def server(models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    with triton.serve(models, tmp_path_factory.mktemp("triton-log") / "triton.log") as running:
        yield running
