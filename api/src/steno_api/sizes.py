"""Sizes in bytes as people read them: one format for the messages of workers, servers and the command line.

Separate because it belongs to no contract.
"""

from __future__ import annotations


def format_bytes(count: int) -> str:
    """Return a number of bytes with a binary unit: `512 bytes`, `5.0 GiB`."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
