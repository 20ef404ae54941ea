"""`make test`: everything that proves the project; what CI runs.

The e2e cluster is made for the run, under a name and ports of its own, and deleted at the end, also after a failure.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hack import check, models, uv
from hack.cluster import down, info, up
from hack.deploy import deploy
from hack.paths import ROOT
from hack.steps import main, say, step, tee

CLUSTER = os.environ.get("STENO_E2E_CLUSTER", "steno-e2e")
KEEP = bool(os.environ.get("STENO_E2E_KEEP"))


def everything() -> None:
    """Static checks, then every test: the fast, those with a real apiserver, those with real models, the e2e."""
    uv.sync()
    check.static()
    with step("model store for tests"):
        models.build()
    with step("unit, property, apiserver and model tests"):
        tee(uv.tool("pytest", "-m", "not e2e", "--durations=10"), cwd=ROOT)
    e2e()


def e2e(arguments: Sequence[str] = ()) -> None:
    """The e2e tests on a kind cluster; `arguments` go to pytest."""
    uv.sync()
    try:
        cluster = up(CLUSTER)
        deploy(cluster)
        with step("e2e tests"):
            tee(
                uv.tool("pytest", "-m", "e2e", "-v", "--durations=15", "tests/e2e", *arguments),
                cwd=ROOT,
                env={"STENO_E2E_CLUSTER": CLUSTER, "KUBECONFIG": str(info(CLUSTER).kubeconfig)},
            )
    finally:
        if KEEP:
            say(f"cluster {CLUSTER} is kept (STENO_E2E_KEEP)")
        else:
            with step("deleting the e2e cluster"):
                down(CLUSTER)


if __name__ == "__main__":
    sys.exit(main(lambda: e2e(sys.argv[2:]) if sys.argv[1:2] == ["e2e"] else everything()))
