"""The chart and the code it deploys agree: definitions, profile fields, settings, labels. Needs no helm."""

from __future__ import annotations

import json

import yaml
from pydantic.alias_generators import to_snake

from hack.paths import ROOT
from steno_api.v1alpha1.runtimeprofile import RuntimeProfileSpec, bytes_of
from steno_operator.settings import Settings

CHART = ROOT / "charts" / "steno"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_chart_carries_the_generated_definitions():
    generated = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    carried = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}
    assert generated
    assert carried == generated, "run: rm -f charts/steno/files/crds/*; cp crds/*.yaml charts/steno/files/crds/"


def test_the_schema_knows_every_field_of_a_profile():
    wire = {field.alias or field.serialization_alias or name for name, field in RuntimeProfileSpec.model_fields.items()}
    assert set(SCHEMA["definitions"]["profile"]["properties"]) == wire


def test_the_profiles_are_valid():
    for spec in VALUES["runtimeProfiles"].values():
        assert RuntimeProfileSpec.model_validate(spec).to_wire().keys() >= spec.keys()


def test_the_profiles_bound_what_a_pod_takes_of_its_node():
    """Of CPU there is a request alone: a limit would throttle what is otherwise idle, and bounds nothing for others."""
    for name, wire in VALUES["runtimeProfiles"].items():
        spec = RuntimeProfileSpec.model_validate(wire)
        requests, limits = spec.resources.requests, spec.resources.limits
        assert set(requests) == {"cpu", "memory", "ephemeral-storage"}, name
        assert set(limits) == {"memory", "ephemeral-storage"}, name
        assert all(bytes_of(requests[each]) <= bytes_of(limit) for each, limit in limits.items()), name
        temporary = bytes_of(spec.scratch_size) + bytes_of("1Gi")  # and /tmp; what remains is for logs
        assert bytes_of(limits["ephemeral-storage"]) > temporary, name


def test_every_setting_is_one_of_the_operators():
    assert {to_snake(name) for name in SCHEMA["properties"]["settings"]["properties"]} <= set(Settings.model_fields)


def test_every_value_is_in_the_schema():
    assert set(VALUES) | {"global"} == set(SCHEMA["properties"])
