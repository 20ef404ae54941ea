"""The generator of structural schemas, and the committed files."""

from __future__ import annotations

import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import AwareDatetime, Field

from hack.paths import ROOT
from steno_api.model import Model
from steno_api.rules import Pattern, Rule
from steno_api.v1alpha1 import RESOURCES, OCRJob, TranscriptionJob
from steno_api.v1alpha1.job import MUTABLE_SPEC_FIELDS
from steno_codegen.crd import FOLDERS, custom_resource_definition, files
from steno_codegen.generate import differences, run
from steno_codegen.schema import UnsupportedSchemaError, structural


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Inner(Model):
    """An inner thing."""

    rules = (Rule("self.low <= self.high", "low first", ".low"),)

    low: int = 1
    high: int = 2


class Plain(Model):
    """Without defaults."""

    name: str | None = None


class Outer(Model):
    """An outer thing."""

    required: str
    """Needed,
    on two lines."""
    optional: Annotated[int, Field(ge=1, le=3)] | None = None
    colour: Colour = Colour.RED
    word: Literal["only"] = "only"
    inner: Inner = Inner()
    """Said of the field."""
    maybe: Inner | None = None
    plain: Plain = Plain()
    many: Annotated[list[Inner], Field(max_length=2)] = []  # noqa: RUF012
    labels: dict[str, str] = {}  # noqa: RUF012
    anything: dict[str, Any] | None = None
    when: AwareDatetime | None = None
    size_or_auto: Annotated[int, Field(ge=1, le=9)] | Literal["auto"] = "auto"
    text: Annotated[str, Field(max_length=9), Pattern(r"it's\d", "must be it's and a digit")] | None = None


INNER = {
    "type": "object",
    "x-kubernetes-validations": [{"rule": "self.low <= self.high", "message": "low first", "fieldPath": ".low"}],
    "properties": {"low": {"type": "integer", "default": 1}, "high": {"type": "integer", "default": 2}},
}

EXPECTED: dict[str, Any] = {
    "required": {"type": "string", "description": "Needed, on two lines."},
    "optional": {"type": "integer", "minimum": 1, "maximum": 3},
    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
    "word": {"type": "string", "enum": ["only"], "default": "only"},
    "inner": {**INNER, "description": "Said of the field.", "default": {}},
    "maybe": {**INNER, "description": "An inner thing."},
    "plain": {"type": "object", "description": "Without defaults.", "properties": {"name": {"type": "string"}}},
    "many": {"type": "array", "maxItems": 2, "items": {**INNER, "description": "An inner thing."}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "anything": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "when": {"type": "string", "format": "date-time"},
    "sizeOrAuto": {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "default": "auto",
        "x-kubernetes-validations": [
            {
                "rule": "type(self) == int ? self >= 1 && self <= 9 : self in ['auto']",
                "message": "must be auto, or a number from 1 to 9",
            }
        ],
    },
    "text": {
        "type": "string",
        "maxLength": 9,
        "x-kubernetes-validations": [
            {"rule": r"self.matches('^(?:it\'s\\d)$')", "message": "must be it's and a digit"}
        ],
    },
}


@pytest.mark.parametrize("field", EXPECTED)
def test_a_field_becomes(field: str) -> None:
    assert structural(Outer)["properties"][field] == EXPECTED[field]


def test_an_object_becomes() -> None:
    schema = structural(Outer)
    assert set(schema["properties"]) == set(EXPECTED)
    assert schema["required"] == ["required"]
    assert schema["type"] == "object"


def test_without_defaults_nothing_has_one() -> None:
    assert "'default':" not in str(structural(Outer, defaults=False))


class Union(Model):
    value: int | list[str]


class Unbounded(Model):
    value: int | Literal["auto"]


class AnyText(Model):
    value: Annotated[int, Field(ge=0, le=1)] | str


class Exclusive(Model):
    inner: Annotated[int, Field(gt=0)]


class Untyped(Model):
    value: Any


@pytest.mark.parametrize("model", [Union, Unbounded, AnyText, Exclusive, Untyped])
def test_what_has_no_structural_form_is_an_error_with_its_path(model: type[Model]) -> None:
    with pytest.raises(UnsupportedSchemaError, match=rf"^{model.__name__}\.(value|inner): "):
        structural(model)


def test_a_pattern_means_the_whole_string_and_says_what_is_wanted() -> None:
    assert Outer(required="x", text="it's1").text == "it's1"
    for wrong in ("it's", "it's1\n", "xit's1"):
        with pytest.raises(ValueError, match="must be it's and a digit"):
            Outer(required="x", text=wrong)


@pytest.mark.parametrize("resource", RESOURCES)
def test_every_field_is_described_and_bounded_where_a_rule_reads_it(resource: Any) -> None:
    crd = custom_resource_definition(resource)
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

    def visit(schema: dict[str, Any], path: str) -> None:
        assert schema.get("description") or path.endswith(("[]", "{}")), f"{path} has no docstring"
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, f"{path} has no maximum length"
        if schema.get("type") == "array":
            assert "maxItems" in schema, f"{path} has no maximum of items"
            visit(schema["items"], f"{path}[]")
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, f"{path} has no maximum of properties"
            visit(schema["additionalProperties"], f"{path}{{}}")
        for name, value in schema.get("properties", {}).items():
            visit(value, f"{path}.{name}")

    if "spec" in properties:
        visit(properties["spec"], "spec")
    status = properties.get("status", {})
    for name, value in status.get("properties", {}).items():
        assert value.get("description"), f"status.{name} has no docstring"


@pytest.mark.parametrize("resource", RESOURCES)
def test_k11_no_default_is_within_the_items_of_a_list(resource: Any) -> None:
    """Argo CD compares a list whole: a default that the API server adds to an item would never be in sync."""
    crd = custom_resource_definition(resource)
    properties = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]

    def visit(schema: dict[str, Any], path: str) -> None:
        assert "[]" not in path or "default" not in schema, f"{path} has a default"
        for name, value in schema.get("properties", {}).items():
            visit(value, f"{path}.{name}")
        for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
            if key in schema:
                visit(schema[key], path + mark)

    visit(properties.get("spec", {}), "spec")


def test_k15_every_crd_fits_into_the_annotation_of_kubectl_apply() -> None:
    assert max(len(text) for text in files().values()) < 200_000


@pytest.mark.parametrize("resource", [TranscriptionJob, OCRJob])
def test_the_immutability_rule_names_every_other_field(resource: Any) -> None:
    spec = structural(resource.model_fields["spec"].annotation)
    rule = spec["x-kubernetes-validations"][-1]
    for field in spec["properties"]:
        assert (f"self.{field} == oldSelf.{field}" in rule["rule"]) is (field not in MUTABLE_SPEC_FIELDS)
        assert (field in rule["message"]) is (field in MUTABLE_SPEC_FIELDS)
    assert set(MUTABLE_SPEC_FIELDS) <= set(spec["properties"])


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_committed_files_are_what_the_models_say(folder: Path) -> None:
    assert differences(ROOT / folder, files(), alone=True) == "", "run `make generate` and commit"


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-m", "steno_codegen.crd", str(tmp_path / name)], check=True)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()
        assert yaml.safe_load(file.read_text())["kind"] == "CustomResourceDefinition"
    assert {file.name for file in (tmp_path / "a").iterdir()} == {
        f"{resource.definition.plural}.yaml" for resource in RESOURCES
    }


def test_check_tells_a_changed_a_missing_and_a_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"a.yaml": "one\n", "b.yaml": "two\n"}
    arguments = [str(tmp_path)]
    check = ["--check", *arguments]
    assert run("generate", texts, [], alone=True, arguments=check) == 1
    assert run("generate", texts, [], alone=True, arguments=arguments) == 0
    assert run("generate", texts, [], alone=True, arguments=check) == 0
    capsys.readouterr()
    (tmp_path / "a.yaml").write_text("other\n")
    (tmp_path / "c.yaml").write_text("stale\n")
    assert run("generate", texts, [], alone=True, arguments=check) == 1
    output = capsys.readouterr()
    assert "-other\n+one\n" in output.out
    assert "-stale\n" in output.out
    assert "run `generate` and commit" in output.err
    assert run("generate", texts, [], alone=True, arguments=arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml"]
