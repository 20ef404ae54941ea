"""The difference between the status that stands and the one that should, as a JSON merge patch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the RFC 7386 merge patch that turns `current` into `wanted`; empty if they are equal.

    Fields that vanished become null. Lists are replaced whole, as the RFC has it.
    """
    patch: dict[str, Any] = {name: None for name in current if name not in wanted}
    for name, value in wanted.items():
        if name not in current:
            patch[name] = value
        elif isinstance(value, Mapping) and isinstance(current[name], Mapping):
            if inner := merge_patch(current[name], value):
                patch[name] = inner
        elif value != current[name]:
            patch[name] = value
    return patch
