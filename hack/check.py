"""`make lint` and `make check`: style, types, layers, generated files, unit and property tests; no cluster."""

from __future__ import annotations

import sys

from hack import tools, uv
from hack.airgapped import golang
from hack.airgapped.programs import ENVIRONMENT
from hack.paths import ROOT
from hack.steps import StepError, main, output, run, step

PROGRAMS = ("packaged", "versitygw", "workers", "redis")
"""The groups of programs that tests without an apiserver run."""
UNIT = ("-m", "not apiserver and not slow and not e2e", "-n2", "--dist=loadfile")

LINT = {
    "ruff": (("ruff", "check", "--no-cache", "."), ("ruff", "format", "--check", ".")),
    "layers (import-linter)": (("lint-imports", "--no-cache"),),
    "generated files (CRDs, reference, protocol buffers)": (
        ("python", "-m", "steno_codegen.crd", "--check"),
        ("python", "-m", "steno_codegen.reference", "--check"),
        ("python", "-m", "hack.protos", "--check"),
    ),
    "types (pyright)": (("pyright",),),
}
"""Checks that read the code and run none of it, in order of speed."""

GO = ROOT / "workers/go"


def check() -> None:
    """Run the checks; the first that fails ends it."""
    lint()
    unit()


def lint() -> None:
    """Run the checks that read the code."""
    uv.sync()
    for title, commands in LINT.items():
        with step(title):
            for command in commands:
                run(uv.tool(*command), cwd=ROOT)
    with step("Go (gofmt, vet)"):
        if unformatted := output([golang.go().with_name("gofmt"), "-l", "."], cwd=GO):
            raise StepError(f"not formatted: {unformatted}. Run: gofmt -w workers/go")
        run([golang.go(), "vet", "./..."], cwd=GO, env=ENVIRONMENT)


def go_tests() -> None:
    """Run the tests of what is written in Go."""
    with step("Go tests"):
        run([golang.go(), "test", "./..."], cwd=GO, env=ENVIRONMENT)


def unit() -> None:
    """Run the unit and property tests."""
    build_programs(PROGRAMS)
    go_tests()
    with step("unit and property tests"):
        run(uv.tool("pytest", *UNIT), cwd=ROOT)


def build_programs(groups: tuple[str, ...]) -> None:
    """Build programs before the tests that run them: a compiler's minutes would count as the first test's."""
    for group in groups:
        tools.build(group)


if __name__ == "__main__":
    sys.exit(main(lint if sys.argv[1:] == ["lint"] else check))
