"""Decoding of lists and watches in bounded memory, with what client-go calls an informer's transform.

Anyone who may create an object may make it 1.5 MB large, a thousand times: by labels without number, by 256 KiB of
annotations. So metadata that is never read is dropped object by object while the JSON is parsed, lists are paged by
bytes, and a line of a watch may have any length: a bound on it would let one object break the watch of all.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from itertools import islice
from typing import Any, cast

import aiohttp

_FIRST_PAGE = 25
_PAGE_BYTES = 2 * 2**20
"""What a page should have."""
_MAX_PAGE_BYTES = 4 * _PAGE_BYTES
"""What a page of more than one object may have before it is given up."""

_READ = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
_PREFIXES = ("steno.dev/", "app.kubernetes.io/")
_MAX_ENTRIES = 64
"""Labels, and annotations, of these prefixes that are kept at most; Steno sets fewer than ten."""


def decode(data: bytes | bytearray) -> Any:
    """Parse JSON of objects, lists of them or watch events, without metadata that is never read.

    Raises:
        ValueError: it is not JSON.
    """
    return json.loads(data, object_hook=_transform)


def own_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that is read of a custom resource."""
    return {name: metadata[name] for name in _READ if name in metadata}


def _transform(found: dict[str, Any]) -> dict[str, Any]:
    """Strip one mapping if it is an object's metadata, or looks like it: labels may have any name."""
    if not ("uid" in found and "resourceVersion" in found and "creationTimestamp" in found):
        return found
    kept = own_metadata(found)
    for name in ("labels", "annotations"):
        entries = found.get(name)
        if isinstance(entries, dict):
            ours = (each for each in cast("dict[str, str]", entries).items() if each[0].startswith(_PREFIXES))
            kept[name] = dict(islice(ours, _MAX_ENTRIES))
    owners = found.get("ownerReferences")
    if isinstance(owners, list):
        references = cast("list[dict[str, Any]]", owners)
        kept["ownerReferences"] = [each for each in references if each.get("controller")]
    return kept


class PageSize:
    """How many objects to ask for, from the bytes of the page before."""

    def __init__(self, most: int) -> None:
        """Begin small: nothing is known of the objects yet.

        Args:
            most: objects of a page at most, however small they are.
        """
        self.count = min(_FIRST_PAGE, most)
        self._most = most

    @property
    def max_bytes(self) -> int | None:
        """Bytes after which the page is not read any further; None: one object is read whatever its size."""
        return None if self.count == 1 else _MAX_PAGE_BYTES

    def shrink(self) -> None:
        """Ask for fewer objects: the page was given up."""
        self.count = max(1, self.count // 8)

    def adapt(self, objects: int, size: int) -> None:
        """Ask for as many objects as should fill a page, and for twice as many at most.

        Args:
            objects: how many there were in the last page.
            size: its bytes.
        """
        fitting = _PAGE_BYTES * objects // max(size, 1)
        self.count = min(self._most, 2 * self.count, max(1, fitting))


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytearray]:
    """Yield lines of any length, without their ends; one that is cut off at the end of the stream is dropped."""
    line = bytearray()
    async for part in content.iter_any():
        first, *more = part.split(b"\n")
        line += first
        for rest in more:
            if line:
                yield line
            line = bytearray(rest)
