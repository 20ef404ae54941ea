"""How much memory this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from steno_runtime.cores import CGROUPS


def available_memory(cgroups: Path = CGROUPS) -> int:
    """Bytes this process may use: the machine's memory, or its control group's limit (v2 or v1), if that is less.

    Args:
        cgroups: where control groups are mounted.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _limit(cgroups)
    return machine if limit is None else min(machine, limit)


def _limit(cgroups: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (cgroups / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) > 0 else None  # v2 says `max`, v1 a number near 2⁶³
    return None
