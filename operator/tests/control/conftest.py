from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.apiserver import ApiServer
from tests.support.fixtures import apiserver, controlplane

from .harness import OperatorHarness

__all__ = ["apiserver", "controlplane"]


@pytest.fixture
def harness(controlplane: ApiServer, tmp_path: Path) -> Iterator[OperatorHarness]:
    """A namespace of its own with a profile; whatever was started there ends with the test."""
    with ExitStack() as stack:
        harness = OperatorHarness(controlplane, controlplane.namespace("control"), tmp_path, stack)
        harness.profile()
        yield harness
