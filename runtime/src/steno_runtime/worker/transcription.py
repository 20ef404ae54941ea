"""Task handler for transcriptions: read the audio, run the speech pipeline, build the transcript."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from steno_api.documents.manifest import TranscriptionSummary
from steno_api.documents.transcript import Transcript
from steno_api.documents.warnings import ResultWarning
from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_api.v1alpha1.transcriptionjob import AudioSelection, Diarization
from steno_api.worker.task import TranscriptionTask
from steno_runtime import sandbox
from steno_runtime.errors import WorkError
from steno_runtime.media.tracks import Selection
from steno_runtime.memory import available_memory
from steno_runtime.progress import ProgressUpdate, capped, transcription_weights
from steno_runtime.publishing import Format
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.writers import FILE_NAMES, MEDIA_TYPES, WRITERS
from steno_runtime.worker.limits import BRIEF_SECONDS, max_seconds, too_long_message
from steno_runtime.worker.task_handler import AttemptContext

if TYPE_CHECKING:
    from steno_runtime.media.channels import Recording
    from steno_runtime.stt.engine import Engine

log = logging.getLogger(__name__)

FETCHED_SHARE = 0.8
"""Share of the stage `Fetching` that the download takes; the rest is for decoding the samples."""

FORMATS = {fmt: Format(FILE_NAMES[fmt], MEDIA_TYPES[fmt]) for fmt in WRITERS}


@dataclass(frozen=True)
class TranscriptDocument:
    """A transcript, and the device it was made on."""

    transcript: Transcript
    device: str

    def write(self, fmt: str, target: Path) -> None:
        """See `Document`."""
        target.write_bytes(WRITERS[fmt](self.transcript))

    def summary(self) -> TranscriptionSummary:
        """See `Document`."""
        from steno_runtime.stt.document import summarise

        return summarise(self.transcript, self.device)

    def warnings(self) -> Sequence[ResultWarning]:
        """See `Document`."""
        return self.transcript.warnings

    def with_warnings(self, warnings: Sequence[ResultWarning]) -> TranscriptDocument:
        """See `Document`."""
        return replace(
            self, transcript=self.transcript.model_copy(update={"warnings": [*self.transcript.warnings, *warnings]})
        )


class TranscriptionHandler:
    """See `TaskHandler`."""

    formats: Mapping[str, Format] = FORMATS
    remedy = "set a smaller model.batchSize, a smaller model, or a RuntimeProfile with more memory"

    def __init__(self, task: TranscriptionTask, *, engine: Engine | None = None, memory: int | None = None) -> None:
        """Prepare.

        Args:
            task: what is to be done.
            engine: of the task's model, which attempts share; None: it is loaded for this attempt alone.
            memory: bytes that this attempt may use; None: all that the process may.
        """
        self._task = task
        self._engine = engine
        self._memory = memory

    @property
    def weights(self) -> Mapping[Stage, float]:
        """See `TaskHandler`."""
        return transcription_weights(diarize=self._task.diarization is not None)

    def load_existing(self, data: bytes, attempt: AttemptContext) -> TranscriptDocument:  # noqa: ARG002 - the interface of all kinds
        """See `TaskHandler`."""
        transcript = Transcript.model_validate_json(data)
        if transcript.meeting_id != self._task.meeting_id:
            raise ValueError("it is the transcript of another meeting")
        return TranscriptDocument(transcript, device="unknown")

    def run(self, attempt: AttemptContext) -> TranscriptDocument:
        """See `TaskHandler`."""
        from steno_runtime.media.sandboxed import MODULES

        sandbox.prepare(*MODULES)  # while the source is fetched
        task = self._task
        token = _community_token(task.diarization)
        warnings: list[ResultWarning] = []
        recording = self._read(attempt, warnings.append)
        attempt.check()
        if self._engine is not None and task.diarization is None and _seconds(recording) <= BRIEF_SECONDS:
            attempt.on_brief()
        from steno_runtime.stt.channels import merge_channels
        from steno_runtime.stt.document import build_transcript
        from steno_runtime.stt.pipeline import transcribe

        options = TranscriptionOptions.from_task(task, hf_token=token)
        all_of_it, part_of_it = (attempt.turn, nullcontext) if self._engine is None else (nullcontext, attempt.turn)
        with all_of_it():
            result = transcribe(
                recording.samples,
                options,
                on_progress=capped(attempt.on_progress, recording.duration),
                check=attempt.check,
                engine=self._engine,
                source_warnings=warnings,
                turn=part_of_it,
            )
        transcript = build_transcript(
            merge_channels(result, recording),
            meeting_id=task.meeting_id,
            tenant_id=task.tenant,
            processing_time=round(attempt.seconds(), 3),
            metadata=task.metadata,
        )
        return TranscriptDocument(transcript, result.device)

    def _read(self, attempt: AttemptContext, on_warning: Callable[[ResultWarning], None]) -> Recording:
        """Return the source's samples; the file that was fetched for them is removed."""
        path = attempt.fetch(FETCHED_SHARE)
        from steno_runtime.media.sandboxed import read_recording_sandboxed

        def on_read(share: float) -> None:
            attempt.on_progress(ProgressUpdate(Stage.FETCHING, FETCHED_SHARE + (1 - FETCHED_SHARE) * share))

        memory, diarize = self._memory or available_memory(), self._task.diarization is not None
        longest, too_long = max_seconds(memory, diarize=diarize), too_long_message(memory, diarize=diarize)
        if (short := self._task.only_short) is not None and short.audio_seconds < longest:
            longest = short.audio_seconds
            too_long = f"The audio is longer than the {longest / 60:g} minutes that servers of a pool take."
        recording = read_recording_sandboxed(
            path,
            check=attempt.check,
            on_progress=on_read,
            on_warning=on_warning,
            selection=_selection(self._task.audio),
            max_seconds=longest,
            too_long=too_long,
        )
        log.info("decoded", extra={"audio_seconds": round(_seconds(recording), 2)})
        if self._task.source.path is None:
            path.unlink(missing_ok=True)
        return recording


def _seconds(recording: Recording) -> float:
    """Return the seconds of all samples, those of each channel counted."""
    from steno_runtime.media.audio import SAMPLE_RATE

    return recording.samples.shape[0] / SAMPLE_RATE


def _selection(audio: AudioSelection | None) -> Selection:
    if audio is None:
        return Selection()
    channel = audio.channels if isinstance(audio.channels, int) else None
    return Selection(audio.track, channel, split=audio.channels == "Split")


def _community_token(diarization: Diarization | None) -> str | None:
    """Return the token of the job's own Secret; None: the job names none, and the model store's models are used.

    A profile may set HF_TOKEN as well: for downloads, not to change which models diarize the jobs that use it.
    """
    if diarization is None or diarization.token_secret_ref is None:
        return None
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"The Secret {diarization.token_secret_ref.name} of spec.diarization.tokenSecretRef has nothing under "
            "HF_TOKEN. Put a Hugging Face token there, or leave tokenSecretRef out to use the store's models.",
        )
    return token
