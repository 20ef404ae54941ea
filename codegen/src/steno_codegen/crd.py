"""Write the CustomResourceDefinitions of every kind: `python -m steno_codegen.crd [--check] [DIRECTORY]`.

`--check` writes nothing and fails with a diff when the committed files differ from the models.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from steno_api.v1alpha1 import RESOURCES
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition, Scale
from steno_codegen.generate import run
from steno_codegen.schema import Schema, structural

FOLDERS = (Path("crds"), Path("charts/steno/files/crds"))
"""Where the files are committed; the chart has a copy because Helm cannot read files outside a chart."""

HEADER = "# Generated from the models in api/ by `python -m steno_codegen.crd`: edit those.\n"

_API_VERSION = "Version of this representation of the object."
_KIND = "What the object is."


def openapi_schema(resource: type[Resource]) -> Schema:
    """Return the structural schema of a whole object of `resource`."""
    definition = resource.definition
    properties: Schema = {
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": {"type": "object"},
    }
    spec = resource.model_fields.get("spec")
    if spec is not None:
        properties["spec"] = structural(_model(resource, "spec"))
        if not spec.is_required():
            properties["spec"]["default"] = {}
    if definition.status:
        properties["status"] = structural(_model(resource, "status"), defaults=False)
    schema: Schema = {"description": " ".join((resource.__doc__ or "").split()), "type": "object"}
    if definition.rules:
        schema["x-kubernetes-validations"] = [rule.to_wire() for rule in definition.rules]
    if spec is not None and spec.is_required():
        schema["required"] = ["spec"]
    return {**schema, "properties": properties}


def custom_resource_definition(resource: type[Resource]) -> dict[str, Any]:
    """Return the CustomResourceDefinition of `resource`."""
    definition = resource.definition
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.crd_name, "labels": {"app.kubernetes.io/part-of": "steno"}},
        "spec": {
            "group": definition.group,
            "scope": definition.scope,
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.singular,
                "shortNames": list(definition.short_names),
                "categories": list(definition.categories),
            },
            "versions": [_version(resource, definition)],
        },
    }


def to_yaml(document: dict[str, Any]) -> str:
    """Return the text of a committed file; it depends on the models alone."""
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def files() -> dict[str, str]:
    """Return every file of `crds/`, name → text."""
    return {
        f"{resource.definition.plural}.yaml": to_yaml(custom_resource_definition(resource)) for resource in RESOURCES
    }


class _Dumper(yaml.SafeDumper):
    """Dumper without anchors: the same value in two places is written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def _model(resource: type[Resource], field: str) -> type[BaseModel]:
    annotation = resource.model_fields[field].annotation
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"{resource.__name__}.{field} must be a model")
    return annotation


def _version(resource: type[Resource], definition: ResourceDefinition) -> dict[str, Any]:
    version: dict[str, Any] = {"name": definition.version, "served": True, "storage": True}
    if definition.status:
        version["subresources"] = {"status": {}, **_scale(definition.scale)}
    if definition.columns:
        version["additionalPrinterColumns"] = [_column(column) for column in definition.columns]
    if definition.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in definition.selectable]
    return {**version, "schema": {"openAPIV3Schema": openapi_schema(resource)}}


def _scale(scale: Scale | None) -> dict[str, Any]:
    if scale is None:
        return {}
    paths = {
        "specReplicasPath": scale.spec,
        "statusReplicasPath": scale.status,
        "labelSelectorPath": scale.selector,
    }
    return {"scale": paths}


def _column(column: PrinterColumn) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        **({"description": column.description} if column.description else {}),
        **({"priority": 1} if column.wide else {}),
    }


if __name__ == "__main__":
    sys.exit(run("python -m steno_codegen.crd", files(), FOLDERS, alone=True))
