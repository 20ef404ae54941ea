"""Validation by the apiserver beyond types: CEL rules, and patterns with a message for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

RULES_KEY = "x-kubernetes-validations"


def cel_string(text: str) -> str:
    """Return `text` as a CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@dataclass(frozen=True)
class Rule:
    """A CEL validation rule: of an object (`Model.rules`), or of one field as an annotation of its type."""

    rule: str
    message: str
    field_path: str | None = None
    """Field the message points at, relative to the object, e.g. `.endpointURL`."""

    def to_wire(self) -> dict[str, str]:
        """Return the entry of `x-kubernetes-validations`."""
        path = {"fieldPath": self.field_path} if self.field_path else {}
        return {"rule": self.rule, "message": self.message, **path}

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _with_rule(handler(schema), self)


@dataclass(frozen=True)
class Pattern:
    """The whole string must match; unlike that of a schema's `pattern`, the error says what is expected.

    The pattern must mean the same to Python and RE2. Annotate a type that has a maximum length: CEL costs are bounded.
    """

    regex: str
    message: str

    def _check(self, value: str) -> str:
        if not re.fullmatch(self.regex, value):
            raise ValueError(self.message)
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return _with_rule(handler(schema), Rule(f"self.matches({cel_string(f'^(?:{self.regex})$')})", self.message))


def _with_rule(json_schema: dict[str, Any], rule: Rule) -> dict[str, Any]:
    return {**json_schema, RULES_KEY: [*json_schema.get(RULES_KEY, []), rule.to_wire()]}
