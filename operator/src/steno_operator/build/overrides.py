"""Merging a profile's `podOverrides` over a pod spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "imagePullSecrets": "name",
    "volumeMounts": "mountPath",
}
"""Lists that Kubernetes' strategic merge joins by a key of their items; every other list is replaced."""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `base` with `over` merged in: objects by key, keyed lists by item, others replaced; null removes."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
            continue
        old = merged.get(key)
        if isinstance(value, Mapping):
            inner = cast("Mapping[str, Any]", old if isinstance(old, Mapping) else {})
            merged[key] = merge(inner, cast("Mapping[str, Any]", value))
        elif key in _MERGE_KEYS and isinstance(value, list) and isinstance(old, list):
            merged[key] = _merge_list(cast("list[Any]", old), cast("list[Any]", value), _MERGE_KEYS[key])
        else:
            merged[key] = value
    return merged


def _merge_list(base: Sequence[Any], over: Sequence[Any], key: str) -> list[Any]:
    """Returns the items of both, those with the same `key` merged, in the order they first appear."""
    items: dict[Any, Any] = {item.get(key): item for item in base}
    for item in over:
        items[item.get(key)] = merge(items.get(item.get(key), {}), item)
    return list(items.values())
