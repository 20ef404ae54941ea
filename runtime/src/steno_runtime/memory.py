"""Memory limits of this process, as its control group (v2 or v1) and the machine set them."""

from __future__ import annotations

import os
from pathlib import Path

from steno_runtime.cores import CGROUPS

MEMINFO = Path("/proc/meminfo")


def available_memory(cgroups: Path = CGROUPS) -> int:
    """Return the bytes that this process may use: the machine's memory, or its control group's limit if that is less.

    Args:
        cgroups: where control groups are mounted.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _memory_limit(cgroups)
    return machine if limit is None else min(machine, limit)


def free_memory(cgroups: Path = CGROUPS, meminfo: Path = MEMINFO) -> int:
    """Return the bytes that nobody uses now: of the control group if it has a limit, and of the machine.

    Pages of files that the kernel would drop count as free.

    Args:
        cgroups: where control groups are mounted.
        meminfo: what the kernel says of the machine.
    """
    free = [_available_on_machine(meminfo)]
    limit = _memory_limit(cgroups)
    if limit is not None:
        for usage, stat, droppable in (
            ("memory.current", "memory.stat", "inactive_file"),
            ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
        ):
            try:
                used = int((cgroups / usage).read_text())
                lines = (line.split() for line in (cgroups / stat).read_text().splitlines())
                free.append(limit - used + int(dict(lines).get(droppable, 0)))
            except (OSError, ValueError):
                continue
    return max(0, min(free))


def _available_on_machine(meminfo: Path) -> int:
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def _memory_limit(cgroups: Path) -> int | None:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            text = (cgroups / name).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) > 0 else None  # v2 says `max`, v1 a number near 2⁶³
    return None
