from hack.testing.fixtures import apiserver, controlplane, namespace

__all__ = ["apiserver", "controlplane", "namespace"]
