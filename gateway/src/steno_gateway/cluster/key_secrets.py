"""Secrets with API keys: a watch of each by its name, since the gateway may read no others of its namespace."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from steno_api.gateway.known_keys import ApiKeys
from steno_kube.client import SECRETS, Cluster
from steno_kube.reflector import Reflector, Target


class KeySecrets:
    """Keeps the keys that are valid up to date with some Secrets."""

    def __init__(self, cluster: Cluster, namespace: str, names: Iterable[str], keys: ApiKeys) -> None:
        """Observe nothing yet.

        Args:
            cluster: the API server.
            namespace: of the Secrets.
            names: theirs.
            keys: what is kept up to date.
        """
        self._cluster = cluster
        self._namespace = namespace
        self._names = tuple(names)
        self._keys = keys

    def reflectors(self) -> list[Reflector]:
        """Return what observes them while it runs."""
        return [
            Reflector(
                self._cluster,
                Target(f"secret {name}", SECRETS.path(self._namespace), {"fieldSelector": f"metadata.name={name}"}),
                _Sink(name, self._keys),
            )
            for name in self._names
        ]


class _Sink:
    """Takes one Secret's entries. See `steno_kube.reflector.Sink`."""

    def __init__(self, name: str, keys: ApiKeys) -> None:
        self._name = name
        self._keys = keys
        self._uid = ""

    def upsert(self, raw: dict[str, Any], /) -> None:
        """Take the Secret's entries."""
        self._uid = raw["metadata"]["uid"]
        self._keys.update(self._name, _entries(raw.get("data") or {}))

    def delete(self, uid: str, /) -> None:
        """Forget the entries of a Secret that was deleted: its keys are void."""
        if uid == self._uid:
            self._keys.update(self._name, {})

    def replace(self, uids: Collection[str], version: str, /, namespace: str | None = None) -> None:  # noqa: ARG002 - a Sink's
        """Forget the entries if a list does not have the Secret."""
        if self._uid not in uids:
            self._keys.update(self._name, {})

    def forget(self, namespace: str, uids: Collection[str] | None = None, /) -> None:
        """Keep what is known: keys stay valid while the Secret may not be read."""


def _entries(data: Mapping[str, str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, value in data.items():
        try:
            found[name] = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            found[name] = b""
    return found
