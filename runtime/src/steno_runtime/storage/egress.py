"""Egress of tasks: the filter of `steno_api.egress`, whose rules came with a task."""

from __future__ import annotations

from steno_api.egress import Egress
from steno_api.failures import FailureReason
from steno_api.worker.task import EgressRules
from steno_runtime.errors import WorkError


def egress_of(rules: EgressRules) -> Egress:
    """Return the filter of a task.

    Raises:
        WorkError: `InvalidSpec`: one of the rules is not a network.
    """
    try:
        return Egress(rules)
    except ValueError as error:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"A network that sources and outputs may or may not be on is not one: {error}. Correct the chart's "
            "egress values.",
        ) from error
