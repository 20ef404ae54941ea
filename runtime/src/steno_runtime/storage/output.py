"""The interface of an output directory: write-once objects on S3 or on a volume.

Apart from its implementations, which must not import each other.
"""

from __future__ import annotations

from typing import Protocol


class OutputDirectory(Protocol):
    """A directory of write-once objects.

    Every method raises `WorkError`: `OutputNotFound`, `OutputForbidden`, `OutputUnavailable` or `InvalidSpec`.
    """

    @property
    def uri(self) -> str:
        """The directory, without a trailing slash."""
        ...

    def check_writable(self) -> None:
        """Find out, before anything costly is done, whether objects can be written here."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes; None if there is no such object, or none that may be read."""
        ...

    def create(self, name: str, data: bytes, content_type: str) -> bool:
        """Write an object, as a whole or not at all, if none of that name exists.

        Args:
            name: of the object.
            data: its content.
            content_type: its media type.

        Returns:
            Whether it was written: False if an object of that name exists already.
        """
        ...

    def cleanup(self) -> None:
        """Remove what interrupted writers left behind; called once the results are complete. Never raises."""
        ...
