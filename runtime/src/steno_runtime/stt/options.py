"""Transcription options: the one form in which jobs, pools, the client and tests say what to transcribe with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from steno_api.server.task import PoolTask
from steno_api.v1alpha1.runtimeprofile import HubDownloads
from steno_api.worker.task import TranscriptionTask


@dataclass(frozen=True, kw_only=True)
class TranscriptionOptions:
    """The model and how to run it; the language and speakers of a recording."""

    model: str
    """A name in the model store, or on the Hugging Face hub."""
    model_store: Path
    """Directory with one directory per model."""
    model_digests: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the models that may be loaded from there; empty: any may. See `models.store.find`."""
    hub_downloads: HubDownloads = "Pinned"
    """Which models of the hub may be downloaded, if the store does not have them."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    compute_type: str = "auto"
    """CTranslate2's; `auto` is float16 on a GPU and int8 on a CPU."""
    batch_size: int | None = None
    """Windows decoded at once; None: by the device."""
    batch_divisor: int = 1
    """Divides the batch size, after an attempt that ran out of memory."""
    memory_mib: int | None = None
    """GPU memory (MiB) to choose the batch size by; None: the device's."""
    language: str | None = None
    """ISO 639 code; None or `auto`: detected."""
    languages: tuple[str, ...] = ()
    """The only ones that may be detected; empty: all that the model knows."""
    translate: bool = False
    """Write English, whatever is spoken."""
    diarize: bool = False
    min_speakers: int | None = None
    max_speakers: int | None = None
    hf_token: str | None = None
    """Hugging Face token for pyannote's community-1; None: the model store's speaker models."""
    speaker_threads: int | None = None
    """CPU cores for diarization; None: all."""
    side_by_side: bool = False
    """On a CPU, decode as many batches at a time as there are cores, whatever there is to decode: much is done sooner,
    one window later."""

    @classmethod
    def from_task(cls, task: TranscriptionTask | PoolTask, *, hf_token: str | None = None) -> Self:
        """Return the options of a task document.

        Args:
            task: of a worker, or of a server. A server's names no recording: language and speakers stay at their
                defaults, for each upload to replace.
            hf_token: see the field; a task holds no secret.
        """
        batch_size = None if task.model.batch_size == "Auto" else task.model.batch_size
        options = cls(
            model=task.model.name,
            model_store=Path(task.model_store),
            model_digests=task.model_digests,
            hub_downloads=task.hub_downloads,
            device=task.device,
            compute_type="auto" if task.model.compute_type == "Auto" else task.model.compute_type,
            batch_size=batch_size,
            memory_mib=task.memory_mib,
            hf_token=hf_token,
        )
        if isinstance(task, PoolTask):
            return replace(options, side_by_side=not task.live)
        diarization = task.diarization
        return replace(
            options,
            batch_divisor=task.batch_divisor,
            language=None if task.language == "auto" else task.language,
            languages=tuple(task.languages),
            translate=task.translate,
            diarize=diarization is not None,
            min_speakers=diarization.min_speakers if diarization else None,
            max_speakers=diarization.max_speakers if diarization else None,
        )
