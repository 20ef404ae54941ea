"""`make check`: everything that needs no cluster: style, types, layers, generated files, unit and property tests."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from hack import tools, uv
from hack.paths import ROOT
from hack.steps import main, run, step

PROGRAMS = ("helm", "versitygw")
"""The groups of programs that tests without an apiserver run."""


def check() -> None:
    """Runs the checks in order of speed; the first that fails ends it."""
    uv.sync()
    static()
    build(PROGRAMS)
    with step("unit and property tests"):
        run(uv.tool("pytest", "-m", "not apiserver and not slow and not e2e", "-n2", "--dist=loadfile"), cwd=ROOT)


def build(groups: Iterable[str]) -> None:
    """Builds programs before the tests that run them: a compiler's minutes would count as the first test's."""
    for group in groups:
        tools.build(group)


def static() -> None:
    """Checks that read the code and run none of it."""
    with step("ruff"):
        run(uv.tool("ruff", "check", "--no-cache", "."), cwd=ROOT)
        run(uv.tool("ruff", "format", "--check", "."), cwd=ROOT)
    with step("layers (import-linter)"):
        run(uv.tool("lint-imports"), cwd=ROOT)
    with step("generated files (CRDs, reference, protocol buffers)"):
        run(uv.tool("python", "-m", "steno_codegen.crd", "--check"), cwd=ROOT)
        run(uv.tool("python", "-m", "steno_codegen.reference", "--check"), cwd=ROOT)
        run(uv.tool("python", "-m", "hack.protos", "--check"), cwd=ROOT)
    with step("types (pyright)"):
        run(uv.tool("pyright"), cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(check))
