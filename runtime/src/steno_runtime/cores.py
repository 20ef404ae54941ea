"""CPU limits of this process: how many cores it may use, and how idle threads wait."""

from __future__ import annotations

import os
from pathlib import Path

from threadpoolctl import ThreadpoolController

CGROUPS = Path("/sys/fs/cgroup")


def use_passive_waits() -> None:
    """Let idle threads of OpenMP and OpenBLAS sleep, unless the environment says otherwise.

    Both spin by default: where other pods share the cores, or a limit counts their time, that costs more than it gains.
    OpenBLAS, which NumPy multiplies matrices with, keeps a thread on each core awake for a moment after every product:
    with a product for each window, that is all cores all the time. It gets one thread, as the products are small.

    OpenMP reads its setting when it first starts threads, so call this before. The images set both, for the programs in
    them as well.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if os.environ.setdefault("OPENBLAS_NUM_THREADS", "1") == "1":
        # Where NumPy was imported before, OpenBLAS has read its setting already.
        ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Return the cores that this process may use: by CPU affinity, `OMP_THREAD_LIMIT` and control group (v2 or v1).

    CTranslate2 must not be given more threads than OpenMP allows it: it then decodes rubbish without an error.

    Args:
        cgroups: where control groups are mounted.

    Returns:
        At least 1; a limit of two and a half cores counts as two.
    """
    count = float(len(os.sched_getaffinity(0)))
    limit = os.environ.get("OMP_THREAD_LIMIT", "").strip()
    if limit.isdigit():
        count = min(count, max(1, int(limit)))
    quota = _quota(cgroups)
    return max(1, round(count if quota is None else min(count, quota)))


def _quota(cgroups: Path) -> float | None:
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroups / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroups / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    try:
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
