"""Rules about source files that no linter has: none too long to read at once, none too small to be worth a visit."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEMBERS = ("api", "codegen", "kube", "queues", "operator", "gateway", "runtime", "client")
MAX_LINES = 400
MIN_LINES = 60
"""A module this small with a single importer belongs into it, unless its docstring begins a sentence with `REASON`."""
REASON = "Separate because"


def modules() -> dict[str, Path]:
    """Return every module of the workspace members by name, generated code left out."""
    found = {}
    for member in MEMBERS:
        source = ROOT / member / "src"
        for path in source.rglob("*.py"):
            if "_pb2" not in path.stem:
                name = ".".join(path.relative_to(source).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported_by(path: Path) -> set[str]:
    """Return the names of the modules of ours that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & MODULES.keys()


def importers() -> dict[str, set[str]]:
    """Return the importers of each module, by name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, path in MODULES.items():
        for imported in imported_by(path):
            found[imported].add(name)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_too_long_to_read_at_once(name):
    assert len(MODULES[name].read_text().splitlines()) <= MAX_LINES


def test_a_small_module_has_several_importers_or_says_why_it_is_separate():
    small = {
        name: found
        for name, found in importers().items()
        if len(found) == 1
        and MODULES[name].stem not in ("__init__", "__main__")
        and len(MODULES[name].read_text().splitlines()) < MIN_LINES
        and REASON not in (ast.get_docstring(ast.parse(MODULES[name].read_text())) or "")
    }
    assert small == {}
