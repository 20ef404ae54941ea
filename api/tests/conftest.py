from tests.support.fixtures import apiserver, controlplane, namespace

__all__ = ["apiserver", "controlplane", "namespace"]
