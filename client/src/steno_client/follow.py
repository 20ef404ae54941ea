"""Following a resource: what is now, then a watch, again and again until it is where it should be."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from steno_client import show
from steno_client.errors import EXIT_FAILED, EXIT_NOT_FOUND, CommandError
from steno_client.kube import Cluster, UnreachableError
from steno_client.resource import Followed
from steno_client.terminal import LiveLine

PATIENCE_SECONDS = 300.0
"""How long a cluster that was there may be silent."""
LONGEST_PAUSE_SECONDS = 15.0


def until(
    cluster: Cluster,
    resource: Followed,
    reached: Callable[[Followed], bool],
    on_change: Callable[[Followed], None],
    on_silence: Callable[[str], None],
) -> Followed:
    """Follows a resource until it ended or `reached` says so, and returns it as it was then.

    Raises:
        CommandError: it was deleted, or the cluster is silent for too long.
    """
    heard, pause = time.monotonic(), 0.5
    while True:
        try:
            for seen in _changes(cluster, resource):
                heard, pause = time.monotonic(), 0.5
                on_change(seen)
                if seen.ended or reached(seen):
                    return seen
        except UnreachableError as error:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
            on_silence(f"{error}; trying again")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _changes(cluster: Cluster, resource: Followed) -> Iterator[Followed]:
    definition, name = resource.definition, resource.name
    body = cluster.get(definition, name)
    now = None if body is None else Followed.read(definition, body)
    if now is None or now.metadata.uid != resource.metadata.uid:
        raise _deleted(resource)
    yield now
    for type_, changed in cluster.changes(definition, name, now.metadata.resource_version):
        if type_ == "DELETED":
            raise _deleted(resource)
        if type_ in ("ADDED", "MODIFIED"):
            seen = Followed.read(definition, changed)
            if seen.metadata.uid != resource.metadata.uid:
                raise _deleted(resource)
            yield seen


def _deleted(resource: Followed) -> CommandError:
    return CommandError(f"{resource.shown} was deleted before it ended", EXIT_NOT_FOUND)


def tail(cluster: Cluster, resource: Followed) -> None:
    """Shows a resource's progress on standard output until it ended.

    Raises:
        CommandError: it failed (exit code 1), or cannot be followed.
    """
    with LiveLine(sys.stdout) as line:
        ended = until(
            cluster,
            resource,
            lambda one: one.ended,
            lambda one: None if one.ended else line.show(show.progress_line(one)),
            line.show,
        )
    if not ended.succeeded:
        raise CommandError(show.end_line(ended), EXIT_FAILED)
    print(show.end_line(ended))
