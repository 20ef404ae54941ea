"""What the operator, the runtime and the client agree on: resources, the worker protocol, result documents."""

GROUP = "steno.dev"
"""API group of every custom resource, and prefix of every label and annotation."""

VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
