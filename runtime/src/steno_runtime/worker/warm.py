"""Warm worker: attempts of a pool's queue, made in this process with the model that is loaded already.

Attempts share the engine, which takes their windows as they come. Models that each loads for itself work in turn.

A message is trusted less than a pod's task: whoever can write to the queue's server is not the operator. What says
where this machine's files are, what may be reached and which device is used comes from the pool; and credentials are
those of the Secrets that the pool names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.failures import FailureReason
from steno_api.server.task import PoolTask
from steno_api.v1alpha1.job import Progress
from steno_api.worker.task import AnyTask, TranscriptionTask
from steno_api.worker.termination import Succeeded, TerminationMessage
from steno_queue.errors import MessageMalformedError
from steno_queue.message import Message
from steno_runtime.errors import Check, Stopped
from steno_runtime.memory import available_memory
from steno_runtime.progress import ProgressMeter, ProgressUpdate
from steno_runtime.publishing import Proofs
from steno_runtime.result_keys import ResultKeyClient
from steno_runtime.worker.recognition import OCRHandler
from steno_runtime.worker.run import run
from steno_runtime.worker.signals import StopRequest
from steno_runtime.worker.task_handler import TaskHandler
from steno_runtime.worker.termination import WorkCounter, encode, logged_failure
from steno_runtime.worker.transcription import TranscriptionHandler

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Engine, SharedEngine

POLL_SECONDS = 0.1
"""How often one that waits for its turn looks whether it is to stop."""


class WarmWorker:
    """Makes attempts, several at a time."""

    def __init__(self, pool: PoolTask, engine: SharedEngine | None, *, at_once: int = 1) -> None:
        """Prepare.

        Args:
            pool: what this process serves.
            engine: of the pool's model; None: each transcription loads it.
            at_once: attempts that share the process's memory, brief ones not counted.
        """
        self._pool = pool
        self._engine = engine
        self._memory = available_memory() // at_once
        self._lock = threading.Lock()

    def task_of(self, message: Message) -> AnyTask:
        """Return what a message asks for, as this pool does it.

        Raises:
            MessageMalformedError: this pool does not do that; the text is the dead letter's reason.
        """
        task = message.task()
        pool = self._pool
        why = self._refusal(message, task)
        if why:
            raise MessageMalformedError(f"The pool {pool.pool.name} cannot make this attempt: {why}.")
        rate = {"min_bytes_per_second": pool.min_source_bytes_per_second}
        return task.model_copy(
            update={
                "source": task.source.model_copy(update=rate),
                "device": pool.device,
                "memory_mib": pool.memory_mib,
                "model_store": pool.model_store,
                "model_digests": pool.model_digests,
                "hub_downloads": pool.hub_downloads,
                "scratch_dir": pool.scratch_dir,
                "egress": pool.egress,
                "reporting": None,
            }
        )

    def work(
        self,
        task: AnyTask,
        stop: StopRequest,
        on_progress: Callable[[Progress], None],
        *,
        keys: Sequence[bytes] = (),
        on_brief: Callable[[], object] = lambda: None,
    ) -> TerminationMessage:
        """Make an attempt; return how it ended, without a result if it was stopped. Never raises.

        Args:
            task: of `task_of`.
            stop: ends it early.
            on_progress: called with the progress, in this thread.
            keys: with which its results are proven, if the operator has named them already.
            on_brief: called once it is known that it takes little memory and time.
        """
        pool = self._pool
        known = ResultKeyClient(
            pool.reporting, task.job, where=task.output.uri, pool=pool.pool, check=stop.check, known=keys
        )
        make = partial(
            run, task, stop=stop, proofs=Proofs(known), turn=partial(self._turn, stop.check), on_brief=on_brief
        )
        with self._share(stop.check) as engine:
            return _ended(task, self._handler(task, engine), make, on_progress)

    def _share(self, check: Check) -> AbstractContextManager[Engine | None]:
        return nullcontext() if self._engine is None else self._engine.share(check)

    def _handler(self, task: AnyTask, engine: Engine | None) -> TaskHandler:
        if isinstance(task, TranscriptionTask):
            return TranscriptionHandler(task, engine=engine, memory=self._memory)
        return OCRHandler(task)

    @contextmanager
    def _turn(self, check: Check) -> Iterator[None]:
        while not self._lock.acquire(timeout=POLL_SECONDS):
            check()
        try:
            yield
        finally:
            self._lock.release()

    def _refusal(self, message: Message, task: AnyTask) -> str:
        """Return why this pool does not do a task; empty: it does."""
        pool = self._pool
        stt = task if isinstance(task, TranscriptionTask) else None
        token = stt is not None and stt.diarization is not None and stt.diarization.token_secret_ref is not None
        locations = (task.source, task.output)
        checks = {
            "the message's id is not that of its attempt": message.id != f"{task.job.uid}/{task.attempt}",
            f"it is for {message.source[:200]}": message.source != f"/steno/{pool.pool.namespace}/{pool.pool.name}",
            "its job is in another namespace": task.job.namespace != pool.pool.namespace,
            "it reads or writes a volume, which needs a pod of its own (execution: Job)": any(
                where.path is not None for where in locations
            ),
            "source.uriSecretRef needs a pod of its own (execution: Job)": task.source.uri_file is not None,
            "it uses a Secret that the pool does not list": not all(
                self._has_credentials(where.credentials_dir) for where in locations
            ),
            f"it wants another model than {pool.model.name}": stt is not None and stt.model.name != pool.model.name,
            "diarization.tokenSecretRef needs a pod of its own (execution: Job)": token,
        }
        return next((why for why, refused in checks.items() if refused), "")

    def _has_credentials(self, folder: str | None) -> bool:
        if folder is None:
            return True
        queue, path = self._pool.queue, Path(folder)
        return queue is not None and path.parent == Path(queue.credentials_root) and path.name not in ("", "..", ".")


def _ended(
    task: AnyTask, handler: TaskHandler, make: Callable[..., Succeeded], on_progress: Callable[[Progress], None]
) -> TerminationMessage:
    """Return how an attempt ended, and what it did.

    Args:
        task: what is to be done.
        handler: does it.
        make: `run` with what is the same for all handlers.
        on_progress: called with the progress.
    """
    meter, counter = ProgressMeter(handler.weights, started=time.monotonic()), WorkCounter()

    def on_update(update: ProgressUpdate) -> None:
        counter.count(update)
        on_progress(meter.measure(update, now=time.monotonic()))

    try:
        result = make(handler=handler, on_progress=on_update, on_document=counter.count_document)
    except Stopped:
        return TerminationMessage(used=counter.done)
    except BaseException as error:  # noqa: BLE001  (whatever it is, the end of the attempt must be reported)
        result = logged_failure(error, handler.remedy)
        if task.only_short is not None and result.reason is FailureReason.TOO_LARGE:
            result = result.model_copy(update={"reason": FailureReason.TOO_LONG_FOR_POOL})
    # As long as a pod's may be: what the operator keeps is the same.
    return TerminationMessage.model_validate_json(encode(result, counter.done))
