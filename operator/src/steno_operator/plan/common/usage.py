"""Metering: what processes say that they did, joined into the record of a resource. Pure.

The join is a maximum for each process: the same said twice, late or by an observer who knows less changes nothing. So
the status of the resource may be written before or after its Tenant is planned, and either may be done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import pydantic

from steno_api.documents.manifest import MAX_COUNT, OCRSummary
from steno_api.usage import MAX_PROCESSES, ProcessWork, Work, WorkRecord
from steno_api.v1alpha1.job import Progress
from steno_api.worker.termination import MAX_TERMINATION_MESSAGE_BYTES, Succeeded, WorkDone
from steno_operator.plan.common.pods import ObservedPod, parse_result

NOTHING = WorkRecord()
_AFTER_ALL = "~"
"""Sorts after every process."""


def process_id(pod: ObservedPod) -> str:
    """Return what a worker's pod is called in records: later pods sort after earlier ones."""
    created = "" if pod.created is None else f"{pod.created:%Y%m%dT%H%M%SZ}"
    return f"{created}-{pod.uid}"[:80]


def work_of_pod(pod: ObservedPod) -> Work | None:
    """Return the work that a worker's termination message tells of; None while there is none."""
    return _work_of_message(pod.termination_message) if pod.termination_message else None


@lru_cache(maxsize=4096)  # every plan of a Tenant asks again for each of its pods
def _work_of_message(message: str) -> Work | None:
    if len(message) > MAX_TERMINATION_MESSAGE_BYTES:
        return None
    try:
        used = WorkDone.model_validate_json(message).used
    except pydantic.ValidationError:
        return None
    if used is not None:
        return used.of_one_result()
    result = parse_result(message)
    if not isinstance(result, Succeeded):
        return None
    summary = result.summary  # of an image that does not say more: what it published
    return Work.of(None, summary.pages) if isinstance(summary, OCRSummary) else Work.of(summary.duration, None)


def work_of_progress(progress: Progress) -> Work:
    """Return the work that a report tells of."""
    return Work.of(progress.audio_seconds, progress.pages).of_one_result()


def join(*said: Mapping[str, Work]) -> dict[str, Work]:
    """Return the most that is said of each process."""
    joined: dict[str, Work] = {}
    for process, work in (each for one in said for each in one.items()):
        joined[process] = work.union(joined[process]) if process in joined else work
    return joined


def work_of_pods(pods: Iterable[ObservedPod]) -> dict[str, Work]:
    """Return the work that the termination messages of workers' pods tell of, by process."""
    return {process_id(pod): work for pod in pods if (work := work_of_pod(pod)) is not None}


def record_work(record: WorkRecord | None, said: Mapping[str, Work]) -> WorkRecord | None:
    """Return a record with what processes say; the same one if they say nothing new.

    Args:
        record: what is known; None: nothing.
        said: by process.
    """
    if not said:
        return record
    before = record or NOTHING
    listed: dict[str, Work] = {each.process: each for each in before.processes}
    audio, pages = before.audio_millis, before.pages
    for process, work in said.items():
        if process not in listed and before.until is not None and process <= before.until:
            continue
        known = listed.get(process, Work())
        listed[process] = known.union(work)
        audio += listed[process].audio_millis - known.audio_millis
        pages += listed[process].pages - known.pages
    if (audio, pages) == (before.audio_millis, before.pages):
        return record
    names = sorted(name for name, work in listed.items() if work.audio_millis or work.pages)
    dropped, kept = names[:-MAX_PROCESSES], names[-MAX_PROCESSES:]
    return WorkRecord(
        audio_millis=min(audio, MAX_COUNT),
        pages=min(pages, MAX_COUNT),
        processes=[
            ProcessWork(process=name, audio_millis=listed[name].audio_millis, pages=listed[name].pages) for name in kept
        ],
        until=max(filter(None, [before.until, *dropped]), default=None),
    )


def read_record(status: Mapping[str, Any]) -> WorkRecord | None:
    """Return the record in a raw status.

    A job that ended under an operator that kept none has that of its results, to which nothing is added.
    """
    if (found := status.get("usage")) is not None:
        try:
            return WorkRecord.from_wire(found)
        except pydantic.ValidationError:
            return None
    summary: dict[str, Any] = status.get("summary") or {}
    if not summary or not status.get("completionTime"):
        return None
    work = Work.of(summary.get("duration"), summary.get("pages"))
    return WorkRecord(audio_millis=work.audio_millis, pages=work.pages, until=_AFTER_ALL)
