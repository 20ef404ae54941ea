"""`make test`: everything that proves the project, and what CI runs; `make test-long`: its property tests for longer.

The e2e cluster is made for the run, under a name and ports of its own, and deleted at the end, also after a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from hack import check, images, models, uv
from hack.airgapped import dockerd
from hack.cluster import down, info, up
from hack.deploy import deploy
from hack.paths import ROOT
from hack.steps import CommandError, MissingError, main, say, side_by_side, step, tee

PREREQUISITES = {
    "/usr/bin/espeak-ng": "espeak-ng",
    "/usr/bin/mvn": "maven",
    "/usr/bin/pdftotext": "poppler-utils",
    "/usr/share/tesseract-ocr/5/tessdata/osd.traineddata": "tesseract-ocr",
    "/usr/share/tesseract-ocr/5/tessdata/kor.traineddata": "tesseract-ocr-kor",
    "/usr/sbin/clamd": "clamav-daemon",
    "/usr/share/fonts/truetype/nanum/NanumGothic.ttf": "fonts-nanum",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf": "fonts-dejavu-core",
}
"""What tests need besides Python, and the Debian packages that bring it."""

PROGRAMS = (*check.PROGRAMS, "kubernetes", "kwok", "kube-score", "elasticmq", "compose")
"""The groups of programs that tests run, but for those that make the cluster."""

NO_TESTS = 5
"""pytest's exit status when it ran none."""

CLUSTER = os.environ.get("STENO_E2E_CLUSTER", "steno-e2e")
KEEP = bool(os.environ.get("STENO_E2E_KEEP"))


def prerequisites() -> None:
    """Install the programs, fonts and data that tests use, where that is possible.

    Raises:
        MissingError: they are absent and cannot be installed from here.
    """
    absent = [package for path, package in PREREQUISITES.items() if not Path(path).exists()]
    if not absent:
        return
    names = " ".join(absent)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError("what the tests use", f"Install them: sudo apt-get install {names}")
    with step(f"installing {names}"):
        dockerd.apt_install(tuple(names.split()))


def everything() -> None:
    """Run the static checks, then every test: the fast, with a real apiserver, with real models, the e2e."""
    prerequisites()
    uv.sync()
    side_by_side(lambda: check.build_programs(PROGRAMS), models.build)
    check.lint()
    check.go_tests()
    with step("unit, property, apiserver and model tests"):
        # The same random examples each time: `make test-long` and everyday runs look for new ones.
        words = ("-m", "not e2e", "-n2", "--dist=loadfile", "--durations=60", "--hypothesis-profile=ci")
        tee(uv.tool("pytest", *words), cwd=ROOT)
    e2e()


def long() -> None:
    """Run the property tests of audio, pages and quota, some with real models, and random attacks, for hours."""
    prerequisites()
    uv.sync()
    models.build()
    with step("property tests with many examples"):
        words = ("-m", "long", "-n2", "--dist=worksteal", "--timeout=7200", "--durations=10")
        tee(uv.tool("pytest", *words), cwd=ROOT, env={"STENO_LONG_TESTS": "1"})


def e2e(arguments: Sequence[str] = ()) -> None:
    """Run the e2e tests on a kind cluster; `arguments` go to pytest."""
    prerequisites()
    uv.sync()
    try:
        dockerd.ensure()
        side_by_side(lambda: up(CLUSTER), images.build)
        deploy(info(CLUSTER), gateway=True, queue=True)
        for title, chosen, options in (
            ("e2e tests, two at a time", "e2e and not disruptive and not streams", ["-n2", "--dist=worksteal"]),
            ("e2e tests of live sessions", "streams", []),
            ("e2e tests that kill what others use, one by one", "disruptive", []),
        ):
            with step(title):
                _pytest("-m", chosen, *options, "-v", "--durations=10", "tests/e2e", *arguments)
    finally:
        if KEEP:
            say(f"cluster {CLUSTER} is kept (STENO_E2E_KEEP)")
        else:
            with step("deleting the e2e cluster"):
                down(CLUSTER)


def _pytest(*words: str) -> None:
    """Run pytest; a selection by name (`-k`) may leave one of the parts without a test."""
    environment = {"STENO_E2E_CLUSTER": CLUSTER, "KUBECONFIG": str(info(CLUSTER).kubeconfig)}
    try:
        tee(uv.tool("pytest", *words), cwd=ROOT, env=environment)
    except CommandError as err:
        if not (err.status == NO_TESTS and "-k" in words):
            raise


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["e2e", *words]:
            sys.exit(main(lambda: e2e(words)))
        case ["long"]:
            sys.exit(main(long))
        case _:
            sys.exit(main(everything))
