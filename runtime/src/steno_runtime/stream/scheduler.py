"""One thread runs the model for everybody: windows of many sessions are decoded together.

An idle engine is given what there is at once; while it is busy, windows gather. Finals go first, then what is said
while somebody speaks, then batch work; within that, whoever has waited longest leads a batch, and whoever was given the
least joins it. A batch holds windows of one kind, frame bucket and language.
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
from steno_runtime.stream.fairness import Shares
from steno_runtime.stt.engine import Effort, Engine

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

_log = logging.getLogger(__name__)

BATCH_PATIENCE = 5.0
"""Seconds that batch work waits behind live work, at most; then one small batch of it is next."""
PARTIAL_PATIENCE = 4
"""Batches that a partial waits behind finals, at most; then it is as urgent as they are."""
LEAST_PATIENCE = 0.05
"""Seconds that it does so in any case."""
BATCH_SHARE = 4
"""While sessions are open, a batch of batch work is that much smaller: live windows wait for it to end."""
MOST_FRAMES = {"cpu": 6_000, "cuda": 24_000}
"""Mel frames (10 ms) decoded at once."""


class Priority(IntEnum):
    """Lower is sooner."""

    FINAL = 0
    PARTIAL = 1
    BATCH = 2


class Kind(StrEnum):
    """What is asked of the engine."""

    DETECT = "detect"
    DRAFT = "draft"
    FINAL = "final"
    BATCH = "batch"


_EFFORTS = {Kind.DRAFT: Effort.DRAFT, Kind.FINAL: Effort.FINAL, Kind.BATCH: Effort.BATCH}


class SchedulerClosed(Exception):  # noqa: N818  (not an error: the engine was closed)
    """Nothing is taken any more."""


@dataclass(frozen=True)
class Window:
    """Audio to decode, for whom."""

    kind: Kind
    tenant: str
    session: str
    frames: int
    """The frame bucket: what it costs."""
    load: Callable[[], Samples]
    """Gives the samples, when it is its turn, in the scheduler's thread."""
    language: str = ""


@dataclass(eq=False)
class _Row:
    window: Window
    priority: Priority
    queued: float
    future: Future[Any] = field(default_factory=Future[Any])

    @property
    def tenant(self) -> str:
        return self.window.tenant

    @property
    def session(self) -> str:
        return self.window.session

    @property
    def cost(self) -> int:
        return self.window.frames

    @property
    def group(self) -> tuple[Kind, int, str]:
        return self.window.kind, self.window.frames, self.window.language


class Scheduler:
    """Gives windows to the engine, in its own thread.

    Args:
        engine: called from that thread only.
        most_frames: mel frames decoded at once; None: by the device.
        clock: seconds; for tests.
    """

    def __init__(
        self, engine: Engine, *, most_frames: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._most_frames = most_frames or MOST_FRAMES.get(engine.device, MOST_FRAMES["cpu"])
        self._most_rows = engine.batch_size
        self._clock = clock
        self._waiting: list[_Row] = []  # in the order in which they came
        self._running = 0
        self._shares = Shares()
        self._served: dict[str, float] = {}  # when each session was given something last
        self._live = 0
        self._closed = False
        self._changed = threading.Condition()
        self._decodes: Counter[str] = Counter()
        self._batches = 0
        self._recent: deque[float] = deque(maxlen=8)  # seconds that the last batches of live work took
        self._thread = threading.Thread(target=self._run, name="steno-scheduler", daemon=True)
        self._thread.start()

    def submit(self, window: Window, priority: Priority, *, replaces: Future[Any] | None = None) -> Future[Any]:
        """Queues a window; its future gives `Decoded`, or for `DETECT` the languages' probabilities.

        Args:
            window: what to decode. Rows are cancelled through their futures.
            priority: how soon.
            replaces: a queued window that this one outdates: it is cancelled, and this one takes its place.

        Raises:
            SchedulerClosed: `close` was called.
        """
        row = _Row(window, priority, self._clock())
        with self._changed:
            if self._closed:
                raise SchedulerClosed
            if not any(one.tenant == row.tenant and one.session == row.session for one in self._waiting):
                self._shares.join(row.tenant, row.session)
            place = next((i for i, one in enumerate(self._waiting) if one.future is replaces), None)
            if replaces is not None and replaces.cancel() and place is not None:
                row.queued = self._waiting[place].queued
                self._waiting[place] = row
                metrics.COALESCED.inc()
            else:
                self._waiting.append(row)
            self._changed.notify_all()
        return row.future

    def promote(self, session: str) -> None:
        """What a session has waiting is needed for a final now."""
        with self._changed:
            for row in self._waiting:
                if row.session == session and row.priority is Priority.PARTIAL:
                    row.priority = Priority.FINAL

    def joined(self) -> None:
        """A session opened."""
        with self._changed:
            self._live += 1

    def left(self, tenant: str, session: str) -> None:
        """A session is over: what it has waiting is cancelled."""
        with self._changed:
            self._live -= 1
            gone = [row for row in self._waiting if row.session == session]
            self._waiting = [row for row in self._waiting if row.session != session]
            self._shares.forget(tenant, session)
            self._served.pop(session, None)
        for row in gone:
            row.future.cancel()

    @property
    def idle(self) -> bool:
        """Whether a window submitted now is decoded now."""
        with self._changed:
            return not self._waiting and not self._running

    @property
    def pace(self) -> float:
        """Seconds that batches of live work took of late, on average; 0 before the first."""
        with self._changed:
            return sum(self._recent) / len(self._recent) if self._recent else 0.0

    def depth(self) -> Mapping[str, int]:
        """Windows waiting, by priority."""
        with self._changed:
            count = Counter(row.priority for row in self._waiting if not row.future.cancelled())
        return {priority.name.lower(): count[priority] for priority in Priority}

    def decodes(self) -> Mapping[str, int]:
        """Windows decoded, by kind."""
        with self._changed:
            return {kind.value: self._decodes[kind.value] for kind in Kind}

    @property
    def mean_rows(self) -> float:
        """Windows decoded together, on average."""
        with self._changed:
            return sum(self._decodes.values()) / self._batches if self._batches else 0.0

    def close(self) -> None:
        """Cancels what waits, and ends the thread behind the batch that runs."""
        with self._changed:
            self._closed = True
            gone, self._waiting = self._waiting, []
            self._changed.notify_all()
        for row in gone:
            row.future.cancel()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Waits for windows and decodes a batch; nothing of it stays: a window leads to its session's audio."""
        with self._changed:
            while not self._pending():
                if self._closed:
                    return False
                self._changed.wait()
            rows = [row for row in self._take() if row.future.set_running_or_notify_cancel()]
            self._running = len(rows)
        now = self._clock()
        for row in rows:
            metrics.QUEUE_SECONDS.labels(row.priority.name.lower()).observe(max(0.0, now - row.queued))
        for priority, depth in self.depth().items():
            metrics.QUEUE_DEPTH.labels(priority).set(depth)
        if rows:
            self._decode(rows)
        with self._changed:
            self._running = 0
        return True

    def _pending(self) -> bool:
        self._waiting = [row for row in self._waiting if not row.future.cancelled()]
        return bool(self._waiting)

    def _take(self) -> list[_Row]:
        """Chooses the next batch and takes it out of the queue."""
        now = self._clock()

        def since(row: _Row) -> float:
            # Who was served meanwhile has waited since then only: a session that asks for much is no oldest for it.
            return max(row.queued, self._served.get(row.session, row.queued))

        patience = max(LEAST_PATIENCE, PARTIAL_PATIENCE * self.pace)

        def urgency(row: _Row) -> int:
            if row.priority is Priority.BATCH and now - row.queued >= BATCH_PATIENCE:
                return -1
            # There are always finals on a busy server: strictly behind them, partials would never come.
            return 0 if row.priority is Priority.PARTIAL and now - since(row) > patience else row.priority

        def due(row: _Row) -> tuple[int, float]:
            return urgency(row), since(row) + (patience if row.priority is Priority.PARTIAL else 0.0)

        lead = min(self._waiting, key=due)
        alike = [row for row in self._waiting if row.group == lead.group]
        most = self._most_rows
        if lead.priority is Priority.BATCH and self._live:
            most = max(1, most // BATCH_SHARE)
        most = max(1, min(most, self._most_frames // max(1, lead.cost)))
        taken = [lead]
        for level in sorted({urgency(row) for row in alike}):
            for row in self._shares.order(row for row in alike if urgency(row) == level):
                if len(taken) < most and row is not lead:
                    taken.append(row)
        for row in taken:
            self._shares.charge(row)
            self._served[row.session] = now
        chosen = set(map(id, taken))
        self._waiting = [row for row in self._waiting if id(row) not in chosen]
        return taken

    def _decode(self, rows: Sequence[_Row]) -> None:
        windows: list[Samples] = []
        loaded: list[_Row] = []
        for row in rows:
            try:
                windows.append(row.window.load())
                loaded.append(row)
            except Exception as err:  # noqa: BLE001 - whatever it is, it is this row's, and the others go on
                self._fail(row, err)
        if loaded:
            self._attempt(loaded, windows)

    def _attempt(self, rows: Sequence[_Row], windows: Sequence[Samples]) -> None:
        """Decodes; what does not work together is tried in halves (memory) or one by one."""
        first = rows[0].window
        begin = self._clock()
        try:
            if first.kind is Kind.DETECT:
                results: Sequence[Any] = self._engine.detect_languages(windows)
            else:
                results = self._engine.decode(windows, first.language, _EFFORTS[first.kind])
            pairs = list(zip(rows, results, strict=True))
        except Exception as err:  # noqa: BLE001 - an engine may raise anything; nobody else may suffer from it
            if len(rows) == 1:
                self._fail(rows[0], err)
                return
            size = 1
            if isinstance(err, WorkError) and err.reason is FailureReason.OUT_OF_MEMORY:
                size = -(-len(rows) // 2)
                self._most_frames = max(first.frames, min(self._most_frames, size * first.frames))
            _log.warning("a batch failed, and is tried again in parts", extra={"rows": len(rows), "size": size})
            for low in range(0, len(rows), size):
                self._attempt(rows[low : low + size], windows[low : low + size])
            return
        taken = self._clock() - begin
        with self._changed:
            self._batches += 1
            self._decodes[first.kind.value] += len(rows)
            if first.kind is not Kind.BATCH:
                self._recent.append(taken)
        metrics.WINDOWS.labels(first.kind.value).inc(len(rows))
        metrics.BATCH_ROWS.observe(len(rows))
        metrics.BATCH_SECONDS.labels(first.kind.value).observe(taken)
        for row, result in pairs:
            row.future.set_result(result)

    @staticmethod
    def _fail(row: _Row, err: Exception) -> None:
        if not isinstance(err, WorkError):
            # Its text may quote anything: only its type is told.
            err = WorkError(FailureReason.INTERNAL, f"Decoding failed ({type(err).__name__}).")
        metrics.FAILED.labels(err.reason.value).inc()
        _log.warning("a window failed", extra={"kind": row.window.kind.value, "reason": err.reason.value})
        row.future.set_exception(err)
