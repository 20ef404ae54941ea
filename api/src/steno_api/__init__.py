"""What the operator, the runtime and the client agree on: resources, the worker protocol, result documents."""

from typing import Final

GROUP = "steno.dev"
"""API group of every custom resource, and prefix of every label and annotation."""

VERSION = "v1alpha1"
API_VERSION: Final = "steno.dev/v1alpha1"
