"""Batching scheduler: a thread for each of the engine's workers decodes windows of many sessions together.

An idle engine gets what there is at once; while it is busy, windows gather. Finals go first, then partials, then batch
work. Within a priority, the window that has waited longest leads the batch and the sessions that have received the
least work join it (`stream.fairness`). A batch holds windows of one kind, frame bucket and language. Of live work one
batch is decoded at a time; of batch work as many as there are workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError
from steno_runtime.stream import metrics
from steno_runtime.stream.fairness import FairQueue
from steno_runtime.stt.chunks import FULL_FRAMES
from steno_runtime.stt.engine import AutoLanguage, DecodeProfile, Engine

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_log = logging.getLogger(__name__)

BATCH_MAX_WAIT_SECONDS = 5.0
"""Batch work waits at most this long behind live work; then one small batch of it is next."""
PARTIAL_MAX_WAIT_BATCHES = 4
"""A partial waits at most this many batches behind finals; then it is as urgent as they are."""
PARTIAL_MIN_WAIT_SECONDS = 0.05
"""A partial waits at least this long before it becomes so."""
LIVE_BATCH_DIVISOR = 4
"""Divides the size of batch work's batches while sessions are open: live windows wait for them to end."""
MAX_FRAMES = {"cpu": 6_000, "cuda": 24_000}
"""Mel frames (10 ms) decoded at once, by device."""


class Priority(IntEnum):
    """Lower is sooner."""

    FINAL = 0
    PARTIAL = 1
    BATCH = 2


class DecodeKind(StrEnum):
    """What the engine does with a window; also a label of the metrics."""

    DETECT = "detect"
    """Detect the language."""
    DRAFT = "draft"
    """Decode for a partial or a stability check."""
    FINAL = "final"
    """Decode for a final."""
    BATCH = "batch"
    """Decode a recording's chunk."""
    DOUBTFUL = "doubtful"
    """Decode a recording's chunk that is probably no speech."""


PROFILES = {
    DecodeKind.DRAFT: DecodeProfile.GREEDY,
    DecodeKind.FINAL: DecodeProfile.BEAM,
    DecodeKind.BATCH: DecodeProfile.BEAM_WITH_FALLBACK,
    DecodeKind.DOUBTFUL: DecodeProfile.BEAM_ONCE,
}


def window_frames(kind: DecodeKind, samples: int) -> int:
    """Return the mel frames of the window that `samples` samples are put in."""
    return FULL_FRAMES if kind is DecodeKind.DETECT else PROFILES[kind].window_frames(samples)


class SchedulerClosed(Exception):  # noqa: N818  (not an error: the engine was closed)
    """The scheduler takes no more windows."""


@dataclass(frozen=True)
class Window:
    """Audio to decode, and the session it belongs to."""

    kind: DecodeKind
    tenant: str
    session: str
    frames: int
    """The bucket (mel frames of 10 ms): its cost."""
    load: Callable[[], Samples]
    """Returns the samples; called in the scheduler's thread when it is the window's turn."""
    language: str | AutoLanguage = ""
    """ISO 639 code, or from what to choose it; empty for `DETECT`."""
    company: str = ""
    """Only windows of the same company are decoded together."""


@dataclass(eq=False)
class QueuedWindow:
    """A window in the queue; see `fairness.Owned`."""

    window: Window
    priority: Priority
    queued: float
    """When, by the scheduler's clock."""
    future: Future[Any] = field(default_factory=Future[Any])

    @property
    def tenant(self) -> str:
        """The tenant it is accounted to."""
        return self.window.tenant

    @property
    def session(self) -> str:
        """The session it is accounted to."""
        return self.window.session

    @property
    def cost(self) -> int:
        """Mel frames."""
        return self.window.frames

    @property
    def group(self) -> tuple[DecodeKind, int, str | AutoLanguage, str]:
        """Only windows of one group are decoded together."""
        return self.window.kind, self.window.frames, self.window.language, self.window.company


class Scheduler:
    """Gives windows to the engine, in its own threads. Its methods may be called from any thread.

    Args:
        engine: called from those threads only, as many as it has workers.
        max_frames: mel frames (10 ms) decoded at once; None: by the device.
        clock: returns seconds; for tests.
    """

    def __init__(
        self, engine: Engine, *, max_frames: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._max_frames = max_frames or MAX_FRAMES.get(engine.device, MAX_FRAMES["cpu"])
        self._max_windows = engine.batch_size
        self._clock = clock
        self._waiting: list[QueuedWindow] = []  # in the order in which they came
        self._free = engine.workers  # threads that decode nothing
        self._live = False  # whether one of them decodes live work
        self._fair_queue = FairQueue()
        self._last_served: dict[str, float] = {}  # when each session's window was last taken
        self._open_sessions = 0
        self._closed = False
        self._changed = threading.Condition()
        self._decodes: Counter[str] = Counter()
        self._batches = 0
        self._recent: deque[float] = deque(maxlen=8)  # seconds that the last batches of live work took
        self._threads = [
            threading.Thread(target=self._run, name=f"steno-scheduler-{number}", daemon=True)
            for number in range(engine.workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, window: Window, priority: Priority, *, replaces: Future[Any] | None = None) -> Future[Any]:
        """Queue a window.

        Args:
            window: what to decode.
            priority: how soon.
            replaces: future of a queued window that this one supersedes: it is cancelled, and this one takes its place.

        Returns:
            A future of `Decoded`, or for `DETECT` of the languages' probabilities. Cancelling it cancels the window.

        Raises:
            SchedulerClosed: `close` was called.
        """
        queued = QueuedWindow(window, priority, self._clock())
        with self._changed:
            if self._closed:
                raise SchedulerClosed
            if not any(one.tenant == queued.tenant and one.session == queued.session for one in self._waiting):
                self._fair_queue.join(queued.tenant, queued.session)
            position = next((i for i, one in enumerate(self._waiting) if one.future is replaces), None)
            if replaces is not None and replaces.cancel() and position is not None:
                queued.queued = self._waiting[position].queued
                self._waiting[position] = queued
                metrics.COALESCED.inc()
            else:
                self._waiting.append(queued)
            self._changed.notify_all()
        return queued.future

    def raise_priority(self, session: str) -> None:
        """Give a session's waiting partials the priority of finals: a final now depends on them."""
        with self._changed:
            for queued in self._waiting:
                if queued.session == session and queued.priority is Priority.PARTIAL:
                    queued.priority = Priority.FINAL

    def session_opened(self) -> None:
        """Count a session: batch work now comes in smaller batches."""
        with self._changed:
            self._open_sessions += 1

    def session_closed(self, tenant: str, session: str) -> None:
        """Forget a session, and cancel its waiting windows."""
        with self._changed:
            self._open_sessions -= 1
        self.forget(tenant, session)

    def forget(self, tenant: str, session: str) -> None:
        """Cancel the waiting windows that came under these names, and forget how much work these received."""
        with self._changed:
            cancelled = [queued for queued in self._waiting if queued.session == session]
            self._waiting = [queued for queued in self._waiting if queued.session != session]
            self._fair_queue.remove(tenant, session)
            self._last_served.pop(session, None)
        for queued in cancelled:
            queued.future.cancel()

    @property
    def idle(self) -> bool:
        """Whether a window submitted now is decoded now."""
        with self._changed:
            return not self._waiting and self._free > 0 and not self._live

    @property
    def batch_seconds(self) -> float:
        """Mean duration of the last batches of live work, in seconds; 0 before the first."""
        with self._changed:
            return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def depth(self) -> Mapping[str, int]:
        """Return the number of waiting windows by priority."""
        with self._changed:
            count = Counter(queued.priority for queued in self._waiting if not queued.future.cancelled())
        return {priority.name.lower(): count[priority] for priority in Priority}

    def decodes(self) -> Mapping[str, int]:
        """Return the number of windows decoded by kind."""
        with self._changed:
            return {kind.value: self._decodes[kind.value] for kind in DecodeKind}

    @property
    def mean_batch_size(self) -> float:
        """Mean number of windows decoded together."""
        with self._changed:
            return sum(self._decodes.values()) / self._batches if self._batches else 0.0

    def close(self) -> None:
        """Cancel the waiting windows, and end the threads after the batches that run."""
        with self._changed:
            self._closed = True
            cancelled, self._waiting = self._waiting, []
            self._changed.notify_all()
        for queued in cancelled:
            queued.future.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _run(self) -> None:
        while self._run_batch():
            pass

    def _run_batch(self) -> bool:
        """Wait for windows and decode a batch; return False once closed.

        A method of its own so that no local variable outlives the batch: a window refers to its session's audio.
        """
        with self._changed:
            while not (due := self._due()):
                if self._closed:
                    return False
                self._changed.wait()
            batch = [queued for queued in self._take_batch(due) if queued.future.set_running_or_notify_cancel()]
            live = any(queued.priority is not Priority.BATCH for queued in batch)
            self._free -= 1
            self._live |= live
        now = self._clock()
        for queued in batch:
            metrics.QUEUE_SECONDS.labels(queued.priority.name.lower()).observe(max(0.0, now - queued.queued))
        for priority, depth in self.depth().items():
            metrics.QUEUE_DEPTH.labels(priority).set(depth)
        if batch:
            self._load_and_decode(batch)
        with self._changed:
            self._free += 1
            self._live &= not live
            self._changed.notify_all()
        return True

    def _due(self) -> list[QueuedWindow]:
        """Return the windows that a thread may take now: of live work none while another decodes some."""
        self._waiting = [queued for queued in self._waiting if not queued.future.cancelled()]
        return [queued for queued in self._waiting if queued.priority is Priority.BATCH or not self._live]

    def _take_batch(self, due: Sequence[QueuedWindow]) -> list[QueuedWindow]:
        """Choose the next batch of windows that are due, and remove it from the queue."""
        now = self._clock()

        def waiting_since(queued: QueuedWindow) -> float:
            # A session that was served meanwhile has waited only since then: asking for much does not make it oldest.
            return max(queued.queued, self._last_served.get(queued.session, queued.queued))

        partial_wait = max(PARTIAL_MIN_WAIT_SECONDS, PARTIAL_MAX_WAIT_BATCHES * self.batch_seconds)

        def urgency(queued: QueuedWindow) -> int:
            if queued.priority is Priority.BATCH and now - queued.queued >= BATCH_MAX_WAIT_SECONDS:
                return -1
            # A busy server always has finals waiting: strictly behind them, partials would never be decoded.
            overdue = queued.priority is Priority.PARTIAL and now - waiting_since(queued) > partial_wait
            return 0 if overdue else queued.priority

        def since(queued: QueuedWindow) -> tuple[int, float]:
            wait = partial_wait if queued.priority is Priority.PARTIAL else 0.0
            return urgency(queued), waiting_since(queued) + wait

        lead = min(due, key=since)
        group = [queued for queued in due if queued.group == lead.group]
        max_windows = self._most(lead, len(group))
        batch = [lead]
        for level in sorted({urgency(queued) for queued in group}):
            for queued in self._fair_queue.order(queued for queued in group if urgency(queued) == level):
                if len(batch) < max_windows and queued is not lead:
                    batch.append(queued)
        for queued in batch:
            self._fair_queue.account(queued)
            self._last_served[queued.session] = now
        taken = set(map(id, batch))
        self._waiting = [queued for queued in self._waiting if id(queued) not in taken]
        return batch

    def _most(self, lead: QueuedWindow, waiting: int) -> int:
        """Return how many windows may be decoded with `lead`, of whose group so many wait."""
        most = self._max_windows
        if lead.priority is Priority.BATCH:
            # Threads that are idle take part: two halves side by side are done before one whole.
            most = min(most // LIVE_BATCH_DIVISOR if self._open_sessions else most, -(-waiting // self._free))
        return max(1, min(most, self._max_frames // max(1, lead.cost)))

    def _load_and_decode(self, batch: Sequence[QueuedWindow]) -> None:
        samples: list[Samples] = []
        loaded: list[QueuedWindow] = []
        for queued in batch:
            try:
                samples.append(queued.window.load())
                loaded.append(queued)
            except Exception as err:  # noqa: BLE001 - whatever it is, it is this window's, and the others go on
                self._fail(queued, err)
        if loaded:
            self._decode_or_split(loaded, samples)

    def _decode_or_split(self, batch: Sequence[QueuedWindow], samples: Sequence[Samples]) -> None:
        """Decode; a batch that fails is tried again in halves (out of memory) or window by window."""
        first = batch[0].window
        begin = self._clock()
        try:
            if first.kind is DecodeKind.DETECT:
                results: Sequence[Any] = self._engine.detect_languages(samples)
            else:
                results = self._engine.decode(samples, first.language, PROFILES[first.kind])
            pairs = list(zip(batch, results, strict=True))
        except Exception as err:  # noqa: BLE001 - an engine may raise anything; other sessions must not suffer from it
            if len(batch) == 1:
                self._fail(batch[0], err)
                return
            size = 1
            if isinstance(err, WorkError) and err.reason is FailureReason.OUT_OF_MEMORY:
                size = -(-len(batch) // 2)
                self._max_frames = max(first.frames, min(self._max_frames, size * first.frames))
            _log.warning("a batch failed and is tried again in parts", extra={"rows": len(batch), "size": size})
            for low in range(0, len(batch), size):
                self._decode_or_split(batch[low : low + size], samples[low : low + size])
            return
        seconds = self._clock() - begin
        with self._changed:
            self._batches += 1
            self._decodes[first.kind.value] += len(batch)
            if first.kind not in (DecodeKind.BATCH, DecodeKind.DOUBTFUL):
                self._recent.append(seconds)
        metrics.WINDOWS.labels(first.kind.value).inc(len(batch))
        metrics.BATCH_ROWS.observe(len(batch))
        metrics.BATCH_SECONDS.labels(first.kind.value).observe(seconds)
        for queued, result in pairs:
            queued.future.set_result(result)

    @staticmethod
    def _fail(queued: QueuedWindow, err: Exception) -> None:
        if not isinstance(err, WorkError):
            # The error's text may quote anything: only its type is reported.
            err = WorkError(FailureReason.INTERNAL, f"Decoding failed ({type(err).__name__}).")
        metrics.FAILED.labels(err.reason.value).inc()
        _log.warning("a window failed", extra={"kind": queued.window.kind.value, "reason": err.reason.value})
        queued.future.set_exception(err)
