"""Speaker diarization: pyannote's pipeline, with models that need no token, or community-1 with one."""

from __future__ import annotations

import functools
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.cores import available_cores
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.models import hub
from steno_runtime.models import store as model_store
from steno_runtime.models.pins import COMMUNITY, PINS
from steno_runtime.stt.segments import SpeakerTurn

if TYPE_CHECKING:
    from collections.abc import Generator

    from steno_runtime.stt.engine import Samples

log = logging.getLogger(__name__)

EMBEDDING = "ge2e"
"""The speaker encoder's name in the model store."""
ENCODER_FILE = "pretrained.pt"

COMMUNITY_NAME = "community-1"
"""The name in the model store of pyannote's pipeline, which is used there without a token."""

PipelineFactory = Callable[[float], Any]
"""Builds the pipeline from models on disk, for a file of that many seconds."""

MAX_WINDOWS = 4000
"""Segmentation windows of a file: clustering's cost grows with their square; longer files get a wider step."""
WINDOW_SECONDS = 5.0
STEP_SECONDS = 0.5
MAX_STEP_SECONDS = 2.5

# Mean cosine distance at which two groups are two speakers. Measured: one person's groups lie up to 0.10 apart, two
# similar voices on the phone 0.17, different voices 0.23 to 0.50. Average linkage, not centroid: on long audio the
# latter makes a speaker of the outliers (0.14 against 0.45 diarization error on two minutes with two speakers).
CLUSTERING = {"method": "average", "min_cluster_size": 6, "threshold": 0.165}


def has_speaker_models(store: Path) -> bool:
    """Return whether the model store has what diarization without a token needs."""
    return (store / EMBEDDING / ENCODER_FILE).is_file() or (store / COMMUNITY_NAME).is_dir()


def find_speaker_models(
    store: Path,
    *,
    token: str | None,
    min_speakers: int | None = None,
    max_speakers: int | None = None,
    digests: Mapping[str, str] = model_store.ANY,
) -> PipelineFactory:
    """Find the models, or download community-1's: whatever can be missing is reported before any work.

    Args:
        store: the model store; what it has is used first: `community-1`, without a token `ge2e/pretrained.pt`.
        token: a Hugging Face token that may read community-1; None uses the store's models.
        min_speakers: at least this many, if known.
        max_speakers: at most this many, if known.
        digests: see `models.store.find`.

    Returns:
        The pipeline's factory, for `diarize`; nothing large is imported or loaded yet.

    Raises:
        WorkError: `ModelNotFound` when a model is missing or the token may not read it, `ModelUnavailable` when the
            hub cannot be reached, `InvalidSpec` when the bounds contradict each other.
    """
    if min_speakers and max_speakers and min_speakers > max_speakers:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"minSpeakers ({min_speakers}) is more than maxSpeakers ({max_speakers}). Correct spec.diarization.",
        )
    stored = model_store.find(store, COMMUNITY_NAME, tuple(PINS[COMMUNITY].files), digests)
    if stored is not None:
        return functools.partial(_community, stored)
    if token:
        return functools.partial(_community, _download(token))
    return functools.partial(_offline, *_find_offline(store, digests))


def diarize(
    samples: Samples,
    *,
    pipeline_factory: PipelineFactory,
    device: str,
    min_speakers: int | None,
    max_speakers: int | None,
    on_progress: Callable[[float], None],
    check: Check,
    threads: int | None = None,
) -> list[SpeakerTurn]:
    """Find who speaks when.

    Args:
        samples: float32, mono, 16 kHz.
        pipeline_factory: from `find_speaker_models`.
        device: `cpu` or `cuda`.
        min_speakers: at least this many, if known.
        max_speakers: at most this many, if known.
        on_progress: called with the fraction done.
        check: called every second or so; may raise to stop.
        threads: CPU cores to use; None: all.

    Returns:
        Turns in order, in seconds; they do not overlap. None at all where the audio is too short or too quiet for it.

    Raises:
        WorkError: a model cannot be read, or the work does not fit into the device's memory.
    """
    with _library_warnings_hidden():
        pipeline = pipeline_factory(len(samples) / SAMPLE_RATE)
        import torch

        torch.set_num_threads(threads or available_cores())  # its own guess does not know the container's limit
        pipeline.to(torch.device(device))
        shares = {"segmentation": (0.0, 0.6), "embeddings": (0.6, 0.4)}

        def hook(step: str, _artifact: Any, **figures: Any) -> None:
            check()
            if step in shares and figures.get("total"):
                begin, share = shares[step]
                on_progress(begin + share * figures["completed"] / figures["total"])

        file = {"waveform": torch.from_numpy(samples)[None], "sample_rate": SAMPLE_RATE, "uri": "audio"}
        try:
            output = pipeline(file, min_speakers=min_speakers, max_speakers=max_speakers, hook=hook)
        except torch.cuda.OutOfMemoryError as err:
            raise WorkError(
                FailureReason.OUT_OF_MEMORY,
                "Diarization did not fit into the device's memory. Use a RuntimeProfile with more memory.",
            ) from err
        except (ValueError, IndexError, RuntimeError) as err:
            # What pyannote raises of a second of speech, of embeddings that are no numbers, or of bounds that it
            # cannot meet: the next attempt would fail in the same way, and the text does not need it.
            if _is_device_fault(err):
                raise
            log.warning("the speakers cannot be distinguished", extra={"error": type(err).__name__})
            on_progress(1.0)
            return []
    on_progress(1.0)
    tracks = output.exclusive_speaker_diarization.itertracks(yield_label=True)
    return [SpeakerTurn(turn.start, turn.end, str(speaker)) for turn, _, speaker in tracks]


def _is_device_fault(error: Exception) -> bool:
    """Tell whether the accelerator failed, not the work: another attempt, on another device, may succeed."""
    return "CUDA" in str(error) or type(error).__name__ == "AcceleratorError"


def step_seconds(duration: float) -> float:
    """Return the seconds between segmentation windows of a file of `duration` seconds."""
    return min(MAX_STEP_SECONDS, max(STEP_SECONDS, duration / MAX_WINDOWS))


def _download(token: str) -> Path:
    try:
        return hub.download_pinned(COMMUNITY, token=token)
    except WorkError:
        raise
    except Exception as err:  # the hub's client raises whatever its HTTP client and the disk do
        if hub.is_denied(err):
            raise WorkError(
                FailureReason.MODEL_NOT_FOUND,
                f"The token may not read {COMMUNITY}. Accept its licence at https://huggingface.co/{COMMUNITY} with "
                "the token's account, and check HF_TOKEN in the Secret of spec.diarization.tokenSecretRef; or leave "
                "tokenSecretRef out to use the store's models.",
            ) from err
        raise WorkError(
            FailureReason.MODEL_UNAVAILABLE,
            f"{COMMUNITY} could not be downloaded ({type(err).__name__}). Give the pod a way to the Hugging Face hub; "
            "or leave spec.diarization.tokenSecretRef out to use the store's models.",
        ) from err


def _community(folder: Path, duration: float) -> Any:  # noqa: ARG001 - see PipelineFactory
    from pyannote.audio import Pipeline

    _forbid_unpickling()
    try:
        pipeline = Pipeline.from_pretrained(folder)
    except Exception as err:  # whatever its YAML, its pickles and its own classes raise
        raise _not_readable(type(err).__name__) from err
    if pipeline is None:
        raise _not_readable("no pipeline")
    return pipeline


def _forbid_unpickling() -> None:
    """Have torch read weights alone, for the rest of this process; pyannote asks it for whatever a pickle holds.

    Of classes, only those are made that pyannote's checkpoints describe their model with, none of which does anything.
    """
    import collections
    import typing

    import omegaconf.base
    import omegaconf.listconfig
    import omegaconf.nodes
    import torch
    from pyannote.audio.core import model, task
    from torch.torch_version import TorchVersion

    os.environ.pop("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", None)
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"  # wins over what a caller asks for
    torch.serialization.add_safe_globals(
        [
            *(task.Specifications, task.Problem, task.Resolution, model.Introspection, TorchVersion),
            *(omegaconf.listconfig.ListConfig, omegaconf.nodes.AnyNode, omegaconf.base.ContainerMetadata),
            *(omegaconf.base.Metadata, typing.Any, collections.defaultdict, list, dict, int),
        ]
    )


def _not_readable(why: str) -> WorkError:
    return WorkError(
        FailureReason.MODEL_UNAVAILABLE,
        f"{COMMUNITY} was downloaded but cannot be loaded ({why}). Leave spec.diarization.tokenSecretRef out to use "
        "the store's models, or use a runtime image whose pyannote.audio knows it.",
    )


def _find_offline(store: Path, digests: Mapping[str, str]) -> tuple[Path, Path]:
    """Return the segmentation model that WhisperX ships, and the store's speaker encoder."""
    folder = model_store.find(store, EMBEDDING, (ENCODER_FILE,), digests)
    if folder is None:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            f"{model_store.not_in_store(store, EMBEDDING)} Put the speaker encoder there ({EMBEDDING}/{ENCODER_FILE}), "
            "or give spec.diarization.tokenSecretRef for pyannote's community-1.",
        )
    whisperx = find_spec("whisperx")
    if whisperx is None or not whisperx.submodule_search_locations:
        raise WorkError(
            FailureReason.MODEL_NOT_FOUND,
            "WhisperX, which ships the segmentation model, is not installed. Use a runtime image that has it.",
        )
    segmentation = Path(whisperx.submodule_search_locations[0]) / "assets" / "pytorch_model.bin"
    return segmentation, folder / ENCODER_FILE


def _offline(segmentation_file: Path, encoder_file: Path, duration: float) -> Any:
    from pyannote.audio import Model

    from steno_runtime.stt.speakers import build_pipeline

    _forbid_unpickling()
    segmentation = Model.from_pretrained(segmentation_file)
    if segmentation is None:
        raise WorkError(FailureReason.INTERNAL, "The segmentation model that WhisperX ships cannot be read.")
    made = build_pipeline(segmentation, encoder_file, step=step_seconds(duration) / WINDOW_SECONDS)
    made.instantiate(
        {
            "segmentation": {"threshold": 0.5, "min_duration_off": 0.3},
            "clustering": CLUSTERING,
        }
    )
    return made


@contextmanager
def _library_warnings_hidden() -> Generator[None]:
    """Hide the libraries' warnings: a user can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning.pytorch  # noqa: F401  (sets its logger's level when it is first imported)

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        yield
