"""Message: a CloudEvent 1.0 in structured JSON mode, whose data is the task of one attempt.

It holds no secret: the credentials of a task are directories that the pods of a pool have mounted.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from steno_api.model import Model
from steno_api.worker.result_keys import is_proof, prove
from steno_api.worker.task import AnyTask, Task
from steno_queue.errors import MessageMalformedError, MessageTooLargeError

ATTEMPT = "dev.steno.attempt.v1"
"""The type of the event: an attempt of a job is to be made."""

PriorityClass = Literal["high", "normal", "low"]
CLASSES: tuple[PriorityClass, ...] = ("high", "normal", "low")
"""In the order in which they are served; messages of one class are served as they come."""

_TASK: TypeAdapter[AnyTask] = TypeAdapter(AnyTask)
_NOT_XML = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}
"""Characters that SQS does not take; within JSON they are only in strings, so they can be escaped there."""


class Message(Model):
    """One attempt, to be made by a worker of a pool. The names of the fields are those of CloudEvents."""

    specversion: Literal["1.0"] = "1.0"
    id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
    """`<job uid>/<attempt>`: what is published again under it is the same message."""
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    """`/steno/<pool namespace>/<pool name>`."""
    type: Literal["dev.steno.attempt.v1"] = ATTEMPT
    subject: Annotated[str, Field(min_length=1, max_length=1024)]
    """`<job namespace>/<job name>`."""
    time: AwareDatetime
    datacontenttype: Literal["application/json"] = "application/json"
    tenant: Annotated[str, Field(min_length=1, max_length=253)]
    """Who pays for the attempt: the Tenant that has the namespace, else whom the job names, else the namespace."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    proof: Annotated[str, Field(max_length=128)] | None = None
    """HMAC by the key of the job, which the operator and the servers of the job's pool have: see `with_proof`."""
    data: dict[str, Any]
    """The task, as `task` reads it."""

    @classmethod
    def of_attempt(cls, task: Task, *, namespace: str, pool: str, priority: int, time: datetime) -> Self:
        """Return the message that has an attempt made.

        Args:
            task: what the attempt does.
            namespace: of the pool.
            pool: its name.
            priority: of the job.
            time: now.
        """
        return cls(
            id=f"{task.job.uid}/{task.attempt}",
            source=f"/steno/{namespace}/{pool}",
            subject=f"{task.job.namespace}/{task.job.name}",
            time=time,
            tenant=task.tenant,
            priority=priority,
            data=task.to_wire(),
        )

    @classmethod
    def parse(cls, body: str | bytes) -> Self:
        """Read a message.

        Raises:
            MessageMalformedError: it is none; the text does not quote it.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise MessageMalformedError(f"It is not a message of Steno: {_fields(error)}.") from None

    def with_proof(self, key: bytes) -> Self:
        """Return the message with the proof that the operator made it: who may write the queue has no such key."""
        return self.model_copy(update={"proof": prove(key, self._statement())})

    def is_proven(self, keys: Iterable[bytes]) -> bool:
        """Tell whether its proof was made with any of the keys of its job."""
        return is_proof(self.proof, keys, self._statement())

    def _statement(self) -> dict[str, Any]:
        return {"message": {"id": self.id, "source": self.source, "data": self.data}}

    @property
    def priority_class(self) -> PriorityClass:
        """What its priority comes to: above 0 is high, below is low."""
        return "high" if self.priority > 0 else "low" if self.priority < 0 else "normal"

    def encode(self, max_bytes: int) -> str:
        """Return the message as JSON.

        Raises:
            MessageTooLargeError: that has more than `max_bytes`.
        """
        body = self.to_json().translate(_NOT_XML)
        size = len(body.encode())
        if size > max_bytes:
            raise MessageTooLargeError(
                f"The message of {self.subject} has {size} bytes, and the queue takes {max_bytes}. "
                "Shorten the job's spec, or run it with execution: Job."
            )
        return body

    def task(self) -> AnyTask:
        """Return the task.

        Raises:
            MessageMalformedError: this version does not understand it.
        """
        try:
            return _TASK.validate_python(self.data)
        except ValidationError as error:
            raise MessageMalformedError(
                f"The worker does not understand its task ({_fields(error)}). "
                "Use a runtime image of the operator's version."
            ) from None


def admit(body: str | bytes, receives: int, max_receives: int) -> Message:
    """Return the message that was received, if it is to be delivered.

    Args:
        body: as it was received.
        receives: how often, this time included.
        max_receives: how often it may be.

    Raises:
        MessageMalformedError: it belongs to the dead letters, for the reason in the text.
    """
    message = Message.parse(body)
    if receives > max_receives:
        raise MessageMalformedError(too_often(max_receives))
    return message


def too_often(receives: int) -> str:
    """Return the reason of a dead letter that nobody acknowledged."""
    return (
        f"It was given to {receives} workers, and none of them finished it: they were lost each time, "
        "for example because memory ran out."
    )


def _fields(error: ValidationError) -> str:
    places = sorted({".".join(str(part) for part in item["loc"]) or "the whole" for item in error.errors()})
    return ", ".join(places)[:300]
