"""Convert a pydantic model to a structural schema, the subset of OpenAPI that a CustomResourceDefinition accepts."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from steno_api.rules import RULES_KEY, Rule, cel_string

Schema = dict[str, Any]

INT_OR_STRING = "x-kubernetes-int-or-string"

_KEPT = frozenset({
    "type", "format", "description", "enum", "required", "pattern",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "nullable", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", RULES_KEY,
})  # fmt: skip
_HANDLED = frozenset({
    "title", "default", "$defs", "$ref", "anyOf", "const", "properties", "items", "additionalProperties", INT_OR_STRING,
})  # fmt: skip


class UnsupportedSchemaError(Exception):
    """A model has something that a CRD cannot express; the text has the field's path and the keyword."""


def structural(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """Return the structural schema of `model`: references inlined, only keywords that a CRD accepts.

    `defaults=False` leaves defaults out, for a status: the apiserver must not fill in what was not observed.

    Raises:
        UnsupportedSchemaError: a field has no structural form.
    """
    schema: Schema = model.model_json_schema(by_alias=True, mode="validation")
    return _Converter(schema.get("$defs", {}), defaults).convert(schema, model.__name__)


class _Converter:
    def __init__(self, definitions: Schema, defaults: bool) -> None:
        self._definitions = definitions
        self._defaults = defaults

    def convert(self, source: Schema, path: str) -> Schema:
        """Return the structural form of one subschema."""
        schema = self._resolved(source, path)
        unknown = schema.keys() - _KEPT - _HANDLED
        if unknown:
            raise UnsupportedSchemaError(f"{path}: {', '.join(sorted(unknown))} has no place in a CRD")
        result = {key: value for key, value in schema.items() if key in _KEPT}
        if "description" in result:
            result["description"] = " ".join(result["description"].split())
        if INT_OR_STRING in schema:
            result |= {INT_OR_STRING: True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
        if "const" in schema:
            result["enum"] = [schema["const"]]
        if "items" in schema:
            result["items"] = self.convert(schema["items"], f"{path}[]")
        if schema.get("type") == "object":
            self._object(schema, result, path)
        if self._defaults and schema.get("default") is not None:
            self._default(schema["default"], result)
        if not result.keys() & {"type", INT_OR_STRING}:
            raise UnsupportedSchemaError(f"{path}: has no type")
        return _ordered(result)

    def _object(self, schema: Schema, result: Schema, path: str) -> None:
        if "properties" in schema:
            result["properties"] = {
                name: self.convert(value, f"{path}.{name}") for name, value in schema["properties"].items()
            }
        elif isinstance(schema.get("additionalProperties"), dict):
            result["additionalProperties"] = self.convert(schema["additionalProperties"], f"{path}{{}}")
        else:
            result["x-kubernetes-preserve-unknown-fields"] = True
        if "properties" in schema and schema.get("additionalProperties") is True:
            result["x-kubernetes-preserve-unknown-fields"] = True

    def _default(self, default: Any, result: Schema) -> None:
        if "properties" in result:
            # The members have their own defaults; an empty object is enough for the apiserver to fill them in.
            if any("default" in value for value in result["properties"].values()):
                result["default"] = {}
        elif default not in ([], {}):
            result["default"] = default

    def _resolved(self, schema: Schema, path: str) -> Schema:
        """Inline `$ref` and the union of `X | None`; keywords beside a reference take precedence."""
        if "$ref" in schema:
            target = self._definitions[schema["$ref"].removeprefix("#/$defs/")]
            return self._resolved({**target, **{key: value for key, value in schema.items() if key != "$ref"}}, path)
        if "anyOf" not in schema or INT_OR_STRING in schema:
            return schema
        beside = {key: value for key, value in schema.items() if key != "anyOf"}
        members = [member for member in schema["anyOf"] if member.get("type") != "null"]
        if len(members) == 1:
            return self._resolved({**self._resolved(members[0], path), **beside}, path)
        return {**_int_or_words(members, path), **beside}


def _int_or_words(members: list[Schema], path: str) -> Schema:
    """Return the form of `int | Literal["word"]`: int-or-string, with the bounds and words in a rule."""
    kinds = sorted(str(member.get("type")) for member in members)
    if kinds != ["integer", "string"]:
        raise UnsupportedSchemaError(f"{path}: a union of {', '.join(kinds)} is not structural")
    number, text = sorted(members, key=lambda member: str(member["type"]))
    words = [text["const"]] if "const" in text else text.get("enum")
    if not words or not {"minimum", "maximum"} <= number.keys():
        raise UnsupportedSchemaError(f"{path}: give the number its bounds and the text its words")
    low, high = number["minimum"], number["maximum"]
    cel = f"type(self) == int ? self >= {low} && self <= {high} : self in [{', '.join(map(cel_string, words))}]"
    rule = Rule(cel, f"must be {' or '.join(words)}, or a number from {low} to {high}")
    return {INT_OR_STRING: True, RULES_KEY: [rule.to_wire()]}


def _ordered(schema: Schema) -> Schema:
    """Return `schema` with the keys that people read first in front and nested schemas last."""
    first = ("description", "type", "format", "enum", "default")
    last = (RULES_KEY, "required", "properties", "items", "additionalProperties")
    middle = sorted(key for key in schema if key not in first + last)
    return {key: schema[key] for key in (*first, *middle, *last) if key in schema}
