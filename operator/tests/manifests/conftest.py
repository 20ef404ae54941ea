"""A real kube-apiserver, and one with the real Job controller, for the tests that ask for them."""

from tests.support.fixtures import apiserver, controlplane

__all__ = ["apiserver", "controlplane"]
