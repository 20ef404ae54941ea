"""Manifests: read from files or built from options, and checked before anything is sent."""

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
from steno_client.kinds import KINDS, MODELS, SESSION

MAX_NAME = 57
"""Longest name of a job."""
_MAX_SESSION_NAME = 63


@dataclass(frozen=True)
class Manifest:
    """A resource to create, as its author wrote it."""

    definition: ResourceDefinition
    body: dict[str, Any]
    shown: str
    """What to call it in an error."""

    @property
    def namespace(self) -> str | None:
        """The namespace it names, if it does."""
        return self.body["metadata"].get("namespace")


class _Loader(yaml.SafeLoader):
    """Says where a value is that looks like a date or a number and is none; YAML's own only says that it is wrong."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            problem = f"{str(node.value)[:40]!r} is read as a date or number, and is none: quote it to have it as text"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def read(name: str, text: str) -> list[Manifest]:
    """Returns every document of a YAML (or JSON) text, checked.

    Args:
        name: of the file, for errors.
        text: its content.

    Raises:
        CommandError: a document is no manifest, or a field is wrong; the text names file and field.
    """
    try:
        documents = [one for one in yaml.load_all(text, _Loader) if one is not None]
    except RecursionError as error:
        raise CommandError(f"{name}: this is no YAML: it is nested too deep for a manifest", EXIT_INPUT) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise CommandError(f"{name}{place}: this is no YAML: {getattr(error, 'problem', error)}", EXIT_INPUT) from error
    if not documents:
        raise CommandError(f"{name}: there is no manifest in it", EXIT_INPUT)
    flat: list[Any] = []
    for one in documents:
        is_list = isinstance(one, Mapping) and one.get("kind") == "List" and isinstance(one.get("items"), list)
        flat += one["items"] if is_list else [one]
    return [checked(one, name) for one in flat]


def read_file(path: Path) -> list[Manifest]:
    """Like `read`, of a file."""
    try:
        return read(str(path), path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", EXIT_INPUT) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is no text: give a manifest in YAML", EXIT_INPUT) from error


def build(kind: str, name: str, namespace: str | None, spec: Mapping[str, Any]) -> Manifest:
    """Returns the manifest of a job; options that were not given (`None`) are left out, at any depth.

    Raises:
        CommandError: a field is wrong.
    """
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": _given(spec)}
    return checked(body, kind)


def name_for(source: str) -> str:
    """Returns a name for a job on `source`: readable, valid, and new.

    It is made of the path alone: a query may be a signature, and what stands before a host a password.
    """
    base = source.partition("?")[0].partition("#")[0]
    path = base.partition("://")[2].partition("/")[2] if "://" in base else base
    last = path.rstrip("/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    words = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[: MAX_NAME - 7].strip("-")
    return f"{words or 'job'}-{secrets.token_hex(3)}"


def longest_name(kind: str) -> int:
    """Returns how many characters a name of that kind may have."""
    return _MAX_SESSION_NAME if kind == SESSION.kind else MAX_NAME


def to_yaml(manifests: Sequence[Manifest]) -> str:
    """Returns YAML as `kubectl apply` takes it."""
    return yaml.safe_dump_all([one.body for one in manifests], sort_keys=False, allow_unicode=True)


def checked(body: Any, place: str) -> Manifest:
    """Checks a manifest as far as that can be done without a cluster.

    Raises:
        CommandError: the text names the field.
    """
    if not isinstance(body, dict) or "kind" not in body:
        raise CommandError(f"{place}: this is no manifest: apiVersion, kind, metadata and spec are needed", EXIT_INPUT)
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or metadata.get("generateName")
    if not isinstance(name, str):
        raise CommandError(f"{place}: metadata.name: give the resource a name", EXIT_INPUT)
    shown = f"{place}: {str(body['kind']).lower()}/{name}" if place != body["kind"] else f"{place} {name}"
    definition = next((one for one in KINDS if one.kind == body["kind"]), None)
    if definition is None or body.get("apiVersion") != API_VERSION:
        kinds = ", ".join(one.kind for one in KINDS)
        raise CommandError(
            f"{shown}: {body.get('apiVersion')} {body['kind']} is not for this command: it takes {kinds} of "
            f"{API_VERSION}; for others there is kubectl apply",
            EXIT_INPUT,
        )
    problems = list(_problems(definition, {**body, "metadata": {**metadata, "name": name}}))
    if problems:
        raise CommandError(f"{shown}: {'; '.join(problems)}", EXIT_INPUT)
    return Manifest(definition, body, shown)


def _problems(definition: ResourceDefinition, body: dict[str, Any]) -> Iterator[str]:
    longest = longest_name(definition.kind)
    if len(body["metadata"]["name"]) > longest:
        yield f"metadata.name: must be at most {longest} characters"
    model = MODELS[definition.kind]
    try:
        resource = model.from_wire({key: value for key, value in body.items() if key != "status"})
    except ValidationError as error:
        for one in error.errors():
            field = ".".join(str(part) for part in one["loc"])
            yield f"{field}: {one['msg'].removeprefix('Value error, ')}"
        return
    spec = getattr(resource, "spec", None)
    if isinstance(spec, BaseModel):
        yield from _unknown(spec, body.get("spec", {}), "spec")


def _unknown(model: BaseModel, raw: Mapping[str, Any], place: str) -> Iterator[str]:
    """Fields that the model does not have: typing errors, which would silently do nothing."""
    fields = {field.alias or name: getattr(model, name) for name, field in type(model).model_fields.items()}
    for key, value in raw.items():
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, 1)
            yield f"{place}.{key}: there is no such field" + (f"; {near[0]} is meant?" if near else "")
        elif isinstance(fields[key], BaseModel) and isinstance(value, Mapping):
            yield from _unknown(fields[key], value, f"{place}.{key}")


def _given(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _given(one) for key, one in value.items() if one is not None}
    return value
