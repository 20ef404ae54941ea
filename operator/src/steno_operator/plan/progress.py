"""How much of a worker's progress the status shows: every write of it costs, and few watch."""

from __future__ import annotations

from steno_api.v1alpha1.job import Progress
from steno_operator.plan.policy import Policy


def shown(before: Progress | None, latest: Progress | None, policy: Policy, *, due: bool) -> Progress | None:
    """Returns the progress the status should show.

    Args:
        before: what it shows now, of the same pod.
        latest: the worker's latest report; None when it was lost, e.g. by a restart of the operator.
        policy: how fine the steps are.
        due: the caller's clock says that the status was not written for a while. Without it only a new stage or a step
            of `policy.progress_step` percent is shown.
    """
    if before is None or latest is None or due:
        return latest or before
    moved = latest.stage is not before.stage or abs(latest.percent - before.percent) >= policy.progress_step
    done = latest.percent == 100 and before.percent != 100
    return latest if moved or done else before
