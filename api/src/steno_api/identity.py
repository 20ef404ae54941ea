"""Which custom resource something belongs to."""

from __future__ import annotations

from steno_api.model import Model


class JobRef(Model):
    """The custom resource a task, report or manifest was made for; the kind follows from the task."""

    namespace: str
    name: str
    uid: str
