"""Resource lookup: from `NAME` or `KIND/NAME` on the command line to the resource, as kubectl does it."""

from __future__ import annotations

from collections.abc import Sequence

from steno_api.v1alpha1.meta import ResourceDefinition
from steno_client.errors import EXIT_INPUT, EXIT_NOT_FOUND, CommandError
from steno_client.kube import Cluster, NotInstalledError
from steno_client.resource import DEFINITIONS, ResourceView


def definition_of(word: str) -> ResourceDefinition:
    """Return the kind that a word names: singular, plural or short name, with or without the API group.

    Raises:
        CommandError: there is no such kind.
    """
    kind = word.lower().partition(".")[0]
    for definition in DEFINITIONS:
        if kind in (definition.singular, definition.plural, *definition.short_names):
            return definition
    known = ", ".join(f"{one.singular} ({', '.join(one.short_names)})" for one in DEFINITIONS)
    raise CommandError(f"{word} is not a kind that this command accepts: give one of {known}", EXIT_INPUT)


def find_resource(cluster: Cluster, given: str) -> ResourceView:
    """Return the resource that `[KIND/]NAME` names, in the namespace of the cluster connection.

    Raises:
        CommandError: there is none, or several kinds have one of that name.
    """
    kind, slash, name = given.rpartition("/")
    if not name or (slash and not kind):
        raise CommandError(f"{given!r} does not name a resource: give NAME or KIND/NAME", EXIT_INPUT)
    found = _find_in_kinds(cluster, [definition_of(kind)] if kind else DEFINITIONS, name)
    if not found:
        raise CommandError(
            f"{given} is not in the namespace {cluster.namespace}: `steno status -A` lists all resources",
            EXIT_NOT_FOUND,
        )
    if len(found) > 1:
        names = " or ".join(one.display_name for one in found)
        raise CommandError(f"several resources have this name: give {names}", EXIT_INPUT)
    return found[0]


def _find_in_kinds(cluster: Cluster, definitions: Sequence[ResourceDefinition], name: str) -> list[ResourceView]:
    found: list[ResourceView] = []
    absent: list[NotInstalledError] = []
    for definition in definitions:
        try:
            body = cluster.get_resource(definition, name)
        except NotInstalledError as error:
            absent.append(error)
            continue
        if body is not None:
            found.append(ResourceView.from_body(definition, body))
    if len(absent) == len(definitions):
        raise absent[0]
    return found


def list_all(cluster: Cluster, *, all_namespaces: bool) -> list[ResourceView]:
    """Return all resources of the known kinds by namespace, then creation time (oldest first).

    Raises:
        CommandError: the cluster cannot be read, or has none of the kinds installed.
    """
    found: list[ResourceView] = []
    absent: list[NotInstalledError] = []
    for definition in DEFINITIONS:
        try:
            bodies = cluster.list_resources(definition, all_namespaces=all_namespaces)
        except NotInstalledError as error:
            absent.append(error)
            continue
        found += [ResourceView.from_body(definition, body) for body in bodies]
    if len(absent) == len(DEFINITIONS):
        raise absent[0]
    return sorted(found, key=lambda one: (one.namespace, one.created, one.display_name))
