"""Write docs/reference.md from the models: `python -m steno_codegen.reference [--check] [DIRECTORY]`."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from steno_api import API_VERSION
from steno_api.documents.warnings import WarningReason
from steno_api.failures import EXIT_CODES, EXIT_TERMINATED, FailureClass, FailureReason
from steno_api.rules import RULES_KEY
from steno_api.v1alpha1 import RESOURCES
from steno_api.v1alpha1.job import Stage
from steno_api.v1alpha1.meta import PrinterColumn, Resource
from steno_api.v1alpha1.reasons import ConditionType, Reason
from steno_codegen.crd import openapi_schema
from steno_codegen.generate import run
from steno_codegen.schema import INT_OR_STRING, Schema

FOLDER = Path("docs")
FILE = "reference.md"

_INTRODUCTION = f"""<!-- Generated from the models in api/ by `python -m steno_codegen.reference`: edit those. -->

# Reference

Every field of `{API_VERSION}`, and every condition and reason in a status. Fields are described in the cluster too:
`kubectl explain transcriptionjob.spec`.
"""


def member_docs(enum: type[StrEnum]) -> dict[str, str]:
    """Return the docstring of each member of `enum`, value → text, without members that have none."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(enum))).body[0]
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - the source of a class is a class
    found: dict[str, str] = {}
    for statement, follower in zip(tree.body, tree.body[1:], strict=False):
        match statement, follower:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[enum[name].value] = " ".join(text.split())
            case _:
                pass
    return found


def text() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION, *(_kind(resource) for resource in RESOURCES), _conditions(), _warnings(), _failures()]
    return "\n".join(part.strip() + "\n" for part in parts)


def _kind(resource: type[Resource]) -> str:
    definition = resource.definition
    schema = openapi_schema(resource)
    scope = "in a namespace" if definition.scope == "Namespaced" else "cluster-wide"
    lines = [
        f"## {definition.kind}",
        "",
        schema["description"],
        "",
        f"`kubectl get {definition.plural}`, short `{definition.short_names[0]}`; {scope};",
        f"{_columns(definition.columns)}.",
    ]
    for section in ("spec", "status"):
        if section in schema["properties"]:
            part = schema["properties"][section]
            rows = [_row(*field) for field in _fields(part, "")]
            lines += ["", f"### {definition.kind} {section}", "", part["description"], ""]
            lines += _table(("field", "type", "default", "description"), rows)
            lines += _rules(section, part)
    return "\n".join(lines)


def _columns(columns: Iterable[PrinterColumn]) -> str:
    shown = [column.name for column in columns if not column.wide]
    wide = [column.name for column in columns if column.wide]
    return f"columns {', '.join(shown)}" + (f", with `-o wide` also {', '.join(wide)}" if wide else "")


def _fields(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    """Yield every field below `schema` as dotted path, schema, and whether it is required."""
    for name, value in schema.get("properties", {}).items():
        yield f"{prefix}{name}", value, name in schema.get("required", ())
        yield from _fields(value, f"{prefix}{name}.")
        yield from _fields(value.get("items", {}), f"{prefix}{name}[].")


def _row(path: str, schema: Schema, required: bool) -> tuple[str, ...]:
    default = schema.get("default")
    shown = "**required**" if required else "" if default in (None, {}) else f"`{_plain(default)}`"
    return f"`{path}`", _type(schema), shown, _description(schema)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _type(schema: Schema) -> str:
    if INT_OR_STRING in schema:
        return "integer or string"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema["type"])
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        return f"{kind}, {low:,} to {high:,}" if high is not None else f"{kind}, at least {low:,}"
    return "time" if schema.get("format") == "date-time" else kind


def _description(schema: Schema) -> str:
    """Return the docstring, then the rules of a value; rules between fields are listed below the table."""
    own = [] if "properties" in schema else [rule["message"] for rule in schema.get(RULES_KEY, [])]
    described = str(schema.get("description", ""))
    return " ".join([described, *(f"It {rule}." if rule.startswith("must ") else f"({rule})" for rule in own)]).strip()


def _rules(section: str, schema: Schema) -> list[str]:
    """Return the messages of rules between fields, by where they apply."""
    found = [
        f"- `{path}`: {rule['message']}"
        for path, part in [(section, schema), *((f"{section}.{path}", part) for path, part, _ in _all(schema))]
        if "properties" in part
        for rule in part.get(RULES_KEY, [])
    ]
    return ["", "Rules between fields:", "", *found] if found else []


def _all(schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    for path, part, required in _fields(schema, ""):
        yield path, part, required
        if "items" in part:
            yield f"{path}[]", part["items"], required


def _conditions() -> str:
    lines = ["## Conditions", "", "`kubectl wait --for=condition=Complete tj/NAME` waits for one of these.", ""]
    lines += _table(("type", "when it is true"), _docs_rows(ConditionType))
    lines += ["", "### Reasons", "", "Reasons of conditions and Events; those of failures are listed below.", ""]
    lines += _table(("reason", "meaning"), _docs_rows(Reason))
    stages = ", ".join(f"`{stage.value}`" for stage in Stage)
    lines += ["", f"While a worker runs, the reason of `Running` is its stage: {stages}."]
    return "\n".join(lines)


def _docs_rows(enum: type[StrEnum]) -> list[tuple[str, ...]]:
    docs = member_docs(enum)
    return [(f"`{member.value}`", docs[member.value]) for member in enum]


_RETRIES = {
    FailureClass.USER: "never",
    FailureClass.ENVIRONMENT: "with backoff",
    FailureClass.SIZE: "with half the batch",
    FailureClass.INTERNAL: "with backoff",
}


def _warnings() -> str:
    where = "The reasons of `status.warnings`, of the condition `HasWarnings`, and of the warnings in documents."
    return "\n".join(["## Warnings", "", where, "", *_table(("reason", "meaning"), _docs_rows(WarningReason))])


def _failures() -> str:
    docs = member_docs(FailureReason)
    rows = [
        (
            f"`{reason.value}`",
            reason.failure_class.value,
            ("at once" if reason is FailureReason.TOO_LONG_FOR_POOL else _RETRIES[reason.failure_class])
            + (", not counted" if reason.free else ""),
            str(EXIT_CODES[reason.failure_class]),
            docs[reason.value],
        )
        for reason in FailureReason
    ]
    return "\n".join(
        [
            "## Failures",
            "",
            "The reason of the condition `Failed`, and of `status.lastFailure`. Its class decides the retry.",
            "Retries count towards `backoffLimit`, except those that are marked as not counted.",
            "",
            *_table(("reason", "class", "retried", "exit code", "meaning"), rows),
            "",
            f"A worker that was stopped by SIGTERM exits with {EXIT_TERMINATED}; 0 is success.",
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in line) + " |" for line in lines]


if __name__ == "__main__":
    sys.exit(run("python -m steno_codegen.reference", {FILE: text()}, [FOLDER]))
