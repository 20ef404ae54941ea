"""Manifests: parsed from YAML or built from options, and validated with the API models before they are sent."""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from steno_api import API_VERSION
from steno_api.v1alpha1.meta import ResourceDefinition
from steno_client.errors import EXIT_INPUT, CommandError
from steno_client.resource import DEFINITIONS, RESOURCE_MODELS, STREAM_SESSION

MAX_NAME_LENGTH = 57
"""Maximum length of a job's name."""
_MAX_SESSION_NAME_LENGTH = 63


@dataclass(frozen=True)
class Manifest:
    """A resource to create, as its author wrote it."""

    definition: ResourceDefinition
    body: dict[str, Any]
    display_name: str
    """How error messages name it."""

    @property
    def namespace(self) -> str | None:
        """Return the namespace that it names, or None."""
        return self.body["metadata"].get("namespace")


class _Loader(yaml.SafeLoader):
    """Loader that reports the position of an invalid date or number; the one of PyYAML does not."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            problem = (
                f"{str(node.value)[:40]!r} is read as a date or number but is not a valid one: quote it to make it text"
            )
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def parse_manifests(name: str, text: str) -> list[Manifest]:
    """Return the validated manifests of a YAML (or JSON) text; the items of a List count separately.

    Args:
        name: name of the file, for error messages.
        text: content of the file.

    Raises:
        CommandError: a document is not a manifest, or a field is wrong; the text names file and field.
    """
    try:
        documents = [one for one in yaml.load_all(text, _Loader) if one is not None]
    except RecursionError as error:
        raise CommandError(
            f"{name}: this is not valid YAML: it is nested too deeply for a manifest", EXIT_INPUT
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f", line {mark.line + 1}" if mark else ""
        raise CommandError(
            f"{name}{position}: this is not valid YAML: {getattr(error, 'problem', error)}", EXIT_INPUT
        ) from error
    if not documents:
        raise CommandError(f"{name}: the file does not contain a manifest", EXIT_INPUT)
    flat: list[Any] = []
    for one in documents:
        is_list = isinstance(one, Mapping) and one.get("kind") == "List" and isinstance(one.get("items"), list)
        flat += one["items"] if is_list else [one]
    return [validate_manifest(one, name) for one in flat]


def read_manifests(path: Path) -> list[Manifest]:
    """Return the validated manifests of a file. See `parse_manifests`."""
    try:
        return parse_manifests(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", EXIT_INPUT) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not a text file: give a manifest in YAML", EXIT_INPUT) from error


def build_manifest(kind: str, name: str, namespace: str | None, spec: Mapping[str, Any]) -> Manifest:
    """Return the validated manifest of a job.

    Args:
        kind: its kind.
        name: its name.
        namespace: its namespace; None leaves it out.
        spec: its spec; values that are None are left out, at any depth.

    Raises:
        CommandError: a field is wrong.
    """
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": _without_none(spec)}
    return validate_manifest(body, kind)


def generate_name(source: str) -> str:
    """Return a readable, valid and unique name for a job on `source`.

    It is derived from the path alone: a query may contain a signature, and the user part of a URL a password.
    """
    base = source.partition("?")[0].partition("#")[0]
    path = base.partition("://")[2].partition("/")[2] if "://" in base else base
    last = path.rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[: MAX_NAME_LENGTH - 7].strip("-")
    return f"{words or 'job'}-{secrets.token_hex(3)}"


def max_name_length(kind: str) -> int:
    """Return the maximum length of the name of a resource of this kind, in characters."""
    return _MAX_SESSION_NAME_LENGTH if kind == STREAM_SESSION.kind else MAX_NAME_LENGTH


def to_yaml(manifests: Sequence[Manifest]) -> str:
    """Return the manifests as YAML for `kubectl apply`."""
    return yaml.safe_dump_all([one.body for one in manifests], sort_keys=False, allow_unicode=True)


def validate_manifest(body: Any, origin: str) -> Manifest:
    """Validate a manifest as far as that is possible without a cluster.

    Args:
        body: the decoded manifest.
        origin: the file it is from, or its kind if it was built from options; for error messages.

    Raises:
        CommandError: the manifest is wrong; the text names the field.
    """
    if not isinstance(body, dict) or "kind" not in body:
        raise CommandError(
            f"{origin}: this is not a manifest: apiVersion, kind, metadata and spec are required", EXIT_INPUT
        )
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or metadata.get("generateName")
    if not isinstance(name, str):
        raise CommandError(f"{origin}: metadata.name: give the resource a name", EXIT_INPUT)
    display_name = f"{origin}: {str(body['kind']).lower()}/{name}" if origin != body["kind"] else f"{origin} {name}"
    definition = next((one for one in DEFINITIONS if one.kind == body["kind"]), None)
    if definition is None or body.get("apiVersion") != API_VERSION:
        kinds = ", ".join(one.kind for one in DEFINITIONS)
        raise CommandError(
            f"{display_name}: this command does not accept {body.get('apiVersion')} {body['kind']}: it accepts "
            f"{kinds} of {API_VERSION}; use kubectl apply for others",
            EXIT_INPUT,
        )
    problems = list(_problems(definition, {**body, "metadata": {**metadata, "name": name}}))
    if problems:
        raise CommandError(f"{display_name}: {'; '.join(problems)}", EXIT_INPUT)
    return Manifest(definition, body, display_name)


def _problems(definition: ResourceDefinition, body: dict[str, Any]) -> Iterator[str]:
    limit = max_name_length(definition.kind)
    if len(body["metadata"]["name"]) > limit:
        yield f"metadata.name: must be at most {limit} characters"
    model = RESOURCE_MODELS[definition.kind]
    try:
        resource = model.from_wire({key: value for key, value in body.items() if key != "status"})
    except ValidationError as error:
        for one in error.errors():
            field = ".".join(str(part) for part in one["loc"])
            yield f"{field}: {one['msg'].removeprefix('Value error, ')}"
        return
    spec = getattr(resource, "spec", None)
    if isinstance(spec, BaseModel):
        yield from _unknown_fields(spec, body.get("spec", {}), "spec")


def _unknown_fields(model: BaseModel, raw: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a message for each field that the model does not have: usually a typo, which would have no effect."""
    fields = {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}
    for key, value in raw.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            yield f"{path}.{key}: there is no such field" + (f"; did you mean {near[0]}?" if near else "")
        elif isinstance(fields[key], BaseModel) and isinstance(value, Mapping):
            yield from _unknown_fields(fields[key], value, f"{path}.{key}")


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return value
