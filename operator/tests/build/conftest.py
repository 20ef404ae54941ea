"""A real kube-apiserver, and one with the real Job controller, for the tests that ask for them."""

from hack.testing.fixtures import apiserver, controlplane

__all__ = ["apiserver", "controlplane"]
