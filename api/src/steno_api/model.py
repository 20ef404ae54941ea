"""The base of every model: camelCase on the wire, snake_case in Python, strict about unknown fields where told."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


def _camel(name: str) -> str:
    """camelCase with Kubernetes' capitalised initialisms (`meetingID`, `endpointURL`, `memoryMiB`)."""
    camel = to_camel(name)
    for initialism in ("Id", "Url", "Uid"):
        if camel.endswith(initialism):
            return camel[: -len(initialism)] + ("UID" if initialism == "Uid" else initialism.upper())
    return camel


class Model(BaseModel):
    """Frozen, camelCase on the wire; unknown fields are ignored so that an older reader understands a newer writer."""

    model_config = ConfigDict(alias_generator=_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_wire(self) -> dict[str, Any]:
        """Returns the JSON object of this model: camelCase keys, absent optionals left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_json(self) -> str:
        """Returns `to_wire` as compact JSON text."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @classmethod
    def from_wire(cls, data: Any) -> Self:
        """Reads a decoded JSON object.

        Raises:
            pydantic.ValidationError: a field is missing or has a wrong type.
        """
        return cls.model_validate(data)
