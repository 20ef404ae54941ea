"""The documented reasons are exactly those that the operator emits."""

from __future__ import annotations

import ast
from pathlib import Path

import steno_operator
from steno_api.v1alpha1.reasons import Reason

EMITTERS = {"EmitEvent": 1, "Fact": 1, "_normal": 0, "_warning": 0, "QueueStatus": 0}
"""Constructors and helpers that take a reason, and its position."""


def _trees() -> list[ast.Module]:
    return [ast.parse(path.read_text()) for path in Path(steno_operator.__path__[0]).rglob("*.py")]


def test_every_documented_reason_is_emitted() -> None:
    used = {
        node.attr
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason"
    }
    assert used == set(Reason.__members__)


def test_no_reason_is_a_literal() -> None:
    literals = [
        ast.unparse(node)
        for tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EMITTERS
        for argument in [
            *node.args[EMITTERS[node.func.id] :][:1],
            *(k.value for k in node.keywords if k.arg == "reason"),
        ]
        if isinstance(argument, ast.Constant)
    ]
    assert literals == []
