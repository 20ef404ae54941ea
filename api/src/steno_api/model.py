"""Base class of every model: camelCase on the wire, snake_case in Python, unknown fields ignored."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from steno_api.rules import Rule


def _camel(name: str) -> str:
    """Return the wire name of a field: camelCase with capital initialisms (`meetingID`, `endpointURL`)."""
    camel = to_camel(name)
    for initialism in ("Id", "Url", "Uid"):
        if camel.endswith(initialism):
            return camel[: -len(initialism)] + ("UID" if initialism == "Uid" else initialism.upper())
    return camel


class Model(BaseModel):
    """Frozen, camelCase on the wire; unknown fields are ignored so that an older reader understands a newer writer."""

    model_config = ConfigDict(
        alias_generator=_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """CEL rules across this object's fields, checked by the apiserver; subclasses add to them."""

    @classmethod
    def validation_rules(cls) -> tuple[Rule, ...]:
        """Return this object's rules; a hook for rules that are derived from the fields."""
        return cls.rules

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        json_schema = handler(schema)
        rules = cls.validation_rules()
        if rules:
            handler.resolve_ref_schema(json_schema)["x-kubernetes-validations"] = [rule.to_wire() for rule in rules]
        return json_schema

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of this model: camelCase keys, without optional fields that are absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_json(self) -> str:
        """Return `to_wire` as compact JSON text."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def from_wire(cls, data: Any) -> Self:
        """Read a decoded JSON object.

        Raises:
            pydantic.ValidationError: a field is missing or has a wrong type.
        """
        return cls.model_validate(data)


class ObjectRef(Model):
    """Reference to one custom resource by namespace, name and UID; its kind follows from where the reference is."""

    namespace: str
    name: str
    uid: str
