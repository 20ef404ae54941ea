"""The batch pipeline: speech is found, decoded in batches, timed by words, and told apart by speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steno_api.documents.transcript import Segment
from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import use_passive_openmp_waits
from steno_runtime.errors import Check, WorkError
from steno_runtime.models import store
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.stt import vad
from steno_runtime.stt.chunks import SAMPLE_RATE, Chunk, Span, batches, bucket, frames_of, pack
from steno_runtime.stt.engine import Decoded, Engine, TimedWord, invented
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.segments import Turn, assign, segments, smooth, snap

if TYPE_CHECKING:
    from steno_runtime.stt.diarization import MakePipeline
    from steno_runtime.stt.engine import Samples

UNKNOWN_LANGUAGE = "und"
"""ISO 639's code for a language nobody knows: that of silence."""
_DETECTION_WINDOWS = 3


@dataclass(frozen=True)
class Result:
    """A transcription, in plain numbers and text."""

    segments: tuple[Segment, ...]
    language: str
    duration: float
    """Seconds of audio."""
    confidence: float
    """Mean probability of the words; 0 without words."""
    device: str
    model: str
    has_diarization: bool


def transcribe(
    samples: Samples,
    options: TranscriptionOptions,
    *,
    on_progress: ProgressCallback,
    check: Check,
    engine: Engine | None = None,
) -> Result:
    """Transcribes audio.

    Args:
        samples: float32, mono, 16 kHz.
        options: model, language, speakers.
        on_progress: called as each stage begins and goes on.
        check: called between pieces of work of a few seconds; may raise to stop.
        engine: one that is loaded already, with the model that the options name; None: made here, and freed as soon
            as everything is decoded.

    Returns:
        The transcription; without segments when nobody speaks.

    Raises:
        WorkError: a model cannot be had, does not fit, or does not know the language.
    """
    on_progress(ProgressUpdate(Stage.LOADING_MODEL))
    make_diarization = _find_speaker_models(options)
    check()
    if engine is None:
        engine = load_engine(options, check)
    wanted = _wanted_language(options, engine)
    on_progress(ProgressUpdate(Stage.LOADING_MODEL, 1.0))

    def heard(done: int) -> None:
        check()
        on_progress(ProgressUpdate(Stage.DETECTING_SPEECH, done / max(1, len(samples))))

    spans = vad.detect(samples, heard)
    chunks = pack(spans, len(samples))
    language = wanted or (_detect(samples, chunks, engine) if chunks else UNKNOWN_LANGUAGE)
    decoded = _decode(samples, chunks, engine, language=language, on_progress=on_progress, check=check)
    device = engine.device
    del engine  # its memory is the speaker models' now
    words = _words(chunks, decoded, spans)
    if words:
        words = _realign(
            samples, words, options, language=language, device=device, on_progress=on_progress, check=check
        )
    turns: Sequence[Turn] = ()
    if make_diarization is not None and words:
        from steno_runtime.stt.diarization import diarize

        turns = diarize(
            samples,
            make_pipeline=make_diarization,
            device=device,
            min_speakers=options.min_speakers,
            max_speakers=options.max_speakers,
            threads=options.speaker_threads,
            on_progress=lambda done: on_progress(ProgressUpdate(Stage.DIARIZING, done)),
            check=check,
        )
    found = segments(words, smooth(words, assign(words, turns)))
    return Result(
        segments=tuple(_named_in_order(found)),
        language=language,
        duration=round(len(samples) / SAMPLE_RATE, 3),
        confidence=round(sum(word.probability for word in words) / len(words), 4) if words else 0.0,
        device=device,
        model=options.model,
        has_diarization=options.diarize,
    )


def load_engine(options: TranscriptionOptions, check: Check = lambda: None) -> Engine:
    """Find the options' model (see `models.store.whisper`) and load it (see `stt.ctranslate.CTranslateEngine`).

    Args:
        options: model and device; language and speakers do not matter here.
        check: called between finding and loading; may raise to stop.

    Raises:
        WorkError: see the two.
    """
    use_passive_openmp_waits()
    from steno_runtime.stt.ctranslate import CTranslateEngine

    folder = store.whisper(options.model_store, options.model)
    check()
    return CTranslateEngine(
        folder,
        device=options.device,
        compute_type=options.compute_type,
        batch_size=options.batch_size,
        batch_divisor=options.batch_divisor,
        memory_mib=options.memory_mib,
    )


def _find_speaker_models(options: TranscriptionOptions) -> MakePipeline | None:
    """Before anything is decoded: a model that is missing, or a token that is refused, then costs nothing."""
    if not options.diarize:
        return None
    from steno_runtime.stt.diarization import find_models

    return find_models(
        options.model_store,
        token=options.hf_token,
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
    )


def _wanted_language(options: TranscriptionOptions, engine: Engine) -> str | None:
    language = options.language
    if language in (None, "auto"):
        return None if len(engine.languages) > 1 else next(iter(engine.languages))
    if language not in engine.languages:
        raise WorkError(
            FailureReason.INVALID_SPEC,
            f"Model {options.model!r} does not know the language {language!r}; it knows "
            f"{', '.join(sorted(engine.languages))}. Set spec.language to one of them, or to auto.",
        )
    return language


def _detect(samples: Samples, chunks: Sequence[Chunk], engine: Engine) -> str:
    """Asks several windows, weighted by their length: one alone is often wrong. The earliest of enough speech."""
    chosen = [chunk for chunk in chunks if chunk.seconds >= 5][:_DETECTION_WINDOWS]
    chosen = chosen or sorted(chunks, key=lambda chunk: -chunk.seconds)[:_DETECTION_WINDOWS]
    rows = engine.detect_languages([samples[chunk.start : chunk.end] for chunk in chosen])
    votes: dict[str, float] = {}
    for chunk, row in zip(chosen, rows, strict=True):
        for language, probability in row.items():
            votes[language] = votes.get(language, 0.0) + probability * chunk.seconds
    return max(votes, key=lambda language: votes[language])


def _decode(
    samples: Samples,
    chunks: Sequence[Chunk],
    engine: Engine,
    *,
    language: str,
    on_progress: ProgressCallback,
    check: Check,
) -> list[Decoded | None]:
    decoded: list[Decoded | None] = [None] * len(chunks)
    sizes = [bucket(frames_of(chunk.end - chunk.start)) for chunk in chunks]
    total = sum(chunk.seconds for chunk in chunks)
    done, count = 0.0, 0
    for batch in batches(sizes, engine.batch_size):
        check()
        rows = engine.decode([samples[chunks[i].start : chunks[i].end] for i in batch], language)
        for index, row in zip(batch, rows, strict=True):
            decoded[index] = row
            done += chunks[index].seconds
        count += len(batch)
        message = f"chunk {count} of {len(chunks)}"
        on_progress(ProgressUpdate(Stage.DECODING, done / total, audio_seconds=round(done, 1), message=message))
    return decoded


def _words(chunks: Sequence[Chunk], decoded: Sequence[Decoded | None], spans: Sequence[Span]) -> list[TimedWord]:
    """The words of all chunks on the audio's own clock, without what was made up."""
    words: list[TimedWord] = []
    for chunk, row in zip(chunks, decoded, strict=True):
        heard = sum(span.seconds for span in chunk.speech)
        if row is None or invented(row, chunk.seconds, heard):
            continue
        offset, end = chunk.start / SAMPLE_RATE, chunk.end / SAMPLE_RATE
        words.extend(
            replace(word, start=min(end, offset + word.start), end=min(end, offset + word.end)) for word in row.words
        )
    return snap(words, [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in spans])


def _realign(
    samples: Samples,
    words: list[TimedWord],
    options: TranscriptionOptions,
    *,
    language: str,
    device: str,
    on_progress: ProgressCallback,
    check: Check,
) -> list[TimedWord]:
    """Times words with WhisperX and a wav2vec2 model, where the store has one for the language (`align-<language>`)."""
    folder = store.find(options.model_store, f"align-{language}", ("config.json",))
    if folder is None:
        return words
    from steno_runtime.stt.alignment import realign

    return realign(
        samples,
        words,
        language=language,
        folder=folder,
        device=device,
        on_progress=lambda done: on_progress(ProgressUpdate(Stage.ALIGNING, done)),
        check=check,
    )


def _named_in_order(found: Sequence[Segment]) -> list[Segment]:
    """Renames speakers to SPEAKER_00, SPEAKER_01, … in the order they first appear."""
    names: dict[str, str] = {}
    for segment in found:
        if segment.speaker is not None:
            names.setdefault(segment.speaker, f"SPEAKER_{len(names):02d}")

    def renamed(name: str | None) -> str | None:
        return None if name is None else names[name]

    return [
        segment.model_copy(
            update={
                "speaker": renamed(segment.speaker),
                "words": [word.model_copy(update={"speaker": renamed(word.speaker)}) for word in segment.words],
            }
        )
        for segment in found
    ]
