"""The kinds that the commands know, and how a resource is named on the command line."""

from __future__ import annotations

from steno_api.v1alpha1 import OCRJob, StreamSession, TranscriptionJob
from steno_api.v1alpha1.meta import Resource, ResourceDefinition
from steno_client.errors import EXIT_INPUT, EXIT_NOT_FOUND, CommandError
from steno_client.kube import Cluster, NotInstalledError
from steno_client.resource import Followed

MODELS: dict[str, type[Resource]] = {
    model.definition.kind: model for model in (TranscriptionJob, OCRJob, StreamSession)
}
"""The kinds, by name: what a manifest says is checked here before the cluster sees it."""

KINDS: tuple[ResourceDefinition, ...] = tuple(model.definition for model in MODELS.values())
SESSION = StreamSession.definition


def kind_named(word: str) -> ResourceDefinition:
    """Returns the kind that a word names, in any form that kubectl takes.

    Raises:
        CommandError: there is none.
    """
    asked = word.lower().partition(".")[0]
    for definition in KINDS:
        if asked in (definition.singular, definition.plural, *definition.short_names):
            return definition
    known = ", ".join(f"{one.singular} ({', '.join(one.short_names)})" for one in KINDS)
    raise CommandError(f"{word} is no kind that this command takes: give one of {known}", EXIT_INPUT)


def find(cluster: Cluster, given: str) -> Followed:
    """Returns the resource that `[KIND/]NAME` means.

    Raises:
        CommandError: there is none, or several kinds have the name.
    """
    kind, slash, name = given.rpartition("/")
    if not name or (slash and not kind):
        raise CommandError(f"{given!r} names no resource: give NAME or KIND/NAME", EXIT_INPUT)
    found = _all(cluster, [kind_named(kind)] if kind else list(KINDS), name)
    if not found:
        raise CommandError(
            f"{given} is not in the namespace {cluster.namespace}: `steno status -A` lists what there is",
            EXIT_NOT_FOUND,
        )
    if len(found) > 1:
        raise CommandError(f"several have this name: say {' or '.join(one.shown for one in found)}", EXIT_INPUT)
    return found[0]


def _all(cluster: Cluster, kinds: list[ResourceDefinition], name: str) -> list[Followed]:
    found: list[Followed] = []
    absent: list[NotInstalledError] = []
    for definition in kinds:
        try:
            body = cluster.get(definition, name)
        except NotInstalledError as error:
            absent.append(error)
            continue
        if body is not None:
            found.append(Followed.read(definition, body))
    if len(absent) == len(kinds):
        raise absent[0]
    return found


def everything(cluster: Cluster, *, everywhere: bool) -> list[Followed]:
    """Returns every resource of the known kinds, in the namespace or in all; the newest last.

    Raises:
        CommandError: also when the cluster knows none of the kinds.
    """
    found: list[Followed] = []
    absent: list[NotInstalledError] = []
    for definition in KINDS:
        try:
            found += [Followed.read(definition, body) for body in cluster.list(definition, everywhere=everywhere)]
        except NotInstalledError as error:
            absent.append(error)
    if len(absent) == len(KINDS):
        raise absent[0]
    return sorted(found, key=lambda one: (one.namespace, one.created, one.shown))
