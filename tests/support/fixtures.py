"""pytest fixtures; a member's `conftest.py` takes them in: `from tests.support.fixtures import *`."""

from __future__ import annotations

import pytest

from tests.support.apiserver import ApiServer, shared

__all__ = ["apiserver", "controlplane", "namespace"]


@pytest.fixture(scope="session")
def apiserver() -> ApiServer:
    """A real apiserver with Steno's CRDs and no controllers, the same for every test of this process."""
    return shared()


@pytest.fixture(scope="session")
def controlplane() -> ApiServer:
    """A real apiserver with Steno's CRDs and kube-controller-manager: real Job controller, real garbage collection."""
    return shared(controllers=True)


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A fresh namespace of `apiserver`."""
    return apiserver.namespace()
