"""Batch pipeline: voice activity, chunks, decoding in batches, word times, speakers, segments.

The steps of WhisperX, over one array of samples; memory beyond it does not grow with the audio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steno_api.documents.transcript import Segment
from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_api.failures import FailureReason
from steno_api.v1alpha1.job import Stage
from steno_runtime.cores import available_cores, use_passive_waits
from steno_runtime.errors import Check, WorkError
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.models import store
from steno_runtime.progress import ProgressCallback, ProgressUpdate
from steno_runtime.stt import review, vad
from steno_runtime.stt.chunks import Chunk, Span, pack
from steno_runtime.stt.decoding import decode_chunks, profiles_of
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, Engine, TimedWord
from steno_runtime.stt.language_changes import describe_languages, main_language
from steno_runtime.stt.languages import (
    TRANSLATION_LANGUAGE,
    allowed_languages,
    describe_ignored,
    require_language,
    require_translation,
)
from steno_runtime.stt.mixed_languages import split_at_changes
from steno_runtime.stt.options import TranscriptionOptions
from steno_runtime.stt.review import StretchWarning
from steno_runtime.stt.segments import (
    SpeakerTurn,
    assign_word_speakers,
    clamp_to_speech,
    group_into_segments,
    in_order,
    rename_speakers,
    smooth_speakers,
)

if TYPE_CHECKING:
    from steno_runtime.stt.diarization import PipelineFactory
    from steno_runtime.stt.engine import Samples

UNKNOWN_LANGUAGE = "und"
"""ISO 639's code for an undetermined language: that of silence."""


@dataclass(frozen=True)
class TranscriptionResult:
    """A transcription; times in seconds."""

    segments: tuple[Segment, ...]
    language: str
    """The one that most speech is in; segments have their own."""
    duration: float
    """Seconds of audio."""
    confidence: float
    """Mean probability of the words; 0 without words."""
    device: str
    model: str
    has_diarization: bool
    translated: bool = False
    """Whether the text is an English translation."""
    warnings: tuple[ResultWarning | StretchWarning, ...] = ()
    """What was lost, doubted or guessed, of the source and of the text."""


def transcribe(
    samples: Samples,
    options: TranscriptionOptions,
    *,
    on_progress: ProgressCallback,
    check: Check,
    engine: Engine | None = None,
    source_warnings: Sequence[ResultWarning] = (),
    turn: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> TranscriptionResult:
    """Transcribe audio.

    Args:
        samples: float32, mono, 16 kHz.
        options: model, language, speakers.
        on_progress: called as each stage begins and goes on.
        check: called between pieces of work of a few seconds; may raise to stop.
        engine: already loaded, with the model that the options name; None: loaded here, and freed as soon as
            everything is decoded.
        source_warnings: what is known of the samples' source; they come first in the result's.
        turn: is held while models work that each transcription loads for itself, beside an engine that is given.

    Returns:
        The transcription; without segments when there is no speech.

    Raises:
        WorkError: a model is missing, does not fit, or does not know the language.
    """
    on_progress(ProgressUpdate(Stage.LOADING_MODEL))
    pipeline_factory = _find_speaker_models(options)
    check()
    if engine is None:
        engine = load_engine(options, check, seconds=len(samples) / SAMPLE_RATE)
    requested = _requested_language(options, engine)
    ignored = describe_ignored((options.language or "auto", *options.languages), engine.languages)
    on_progress(ProgressUpdate(Stage.LOADING_MODEL, 1.0))

    def on_block(done: int) -> None:
        check()
        on_progress(ProgressUpdate(Stage.DETECTING_SPEECH, done / max(1, len(samples))))

    spans = vad.detect_speech(samples, on_block)
    chunks = pack(spans, len(samples))
    warnings: list[ResultWarning | StretchWarning] = [*source_warnings, *ignored]
    decoded = _decode(samples, chunks, engine, language=requested, on_progress=on_progress, check=check)
    language = requested if isinstance(requested, str) else UNKNOWN_LANGUAGE
    if chunks and isinstance(requested, AutoLanguage):
        split = split_at_changes(samples, chunks, decoded, engine, auto=requested, check=check)
        chunks = list(split.chunks)
        decoded = _decode_again(samples, chunks, split.decoded, engine, languages=split.languages, check=check)
        evidence = [part.evidence for part in split.parts]
        language = main_language(evidence, split.part_languages)
        warnings += describe_languages([part.chunk for part in split.parts], evidence, split.part_languages)
    words, dropped = _words_of(chunks, decoded, spans)
    undecoded: Sequence[Span]
    if options.translate:
        # A translation's words are not where they are spoken: what has none of its own says nothing.
        words = [replace(word, language=TRANSLATION_LANGUAGE) for word in words]
        undecoded = [
            chunk for chunk, row in zip(chunks, decoded, strict=True) if not (row.text.strip() or chunk.is_doubtful)
        ]
    else:
        doubtful = [chunk for chunk in chunks if chunk.is_doubtful]
        words, undecoded = _decode_uncovered(
            samples, spans, words, engine, doubtful=doubtful, language=requested, check=check
        )
    silent = any(warning.reason is WarningReason.SILENT_TRACK for warning in warnings)
    warnings += review.describe_text(words, named=bool(dropped or undecoded), silent=silent)
    warnings += [*review.describe_dropped(dropped), *review.describe_undecoded(undecoded)]
    device = engine.device
    del engine  # frees its memory for the speaker models
    if words and not options.translate:
        words = _realign(samples, words, options, device=device, on_progress=on_progress, check=check, turn=turn)
    turns: Sequence[SpeakerTurn] = ()
    if pipeline_factory is not None and words:
        from steno_runtime.stt.diarization import diarize

        with turn():
            turns = diarize(
                samples,
                pipeline_factory=pipeline_factory,
                device=device,
                min_speakers=options.min_speakers,
                max_speakers=options.max_speakers,
                threads=options.speaker_threads,
                on_progress=lambda done: on_progress(ProgressUpdate(Stage.DIARIZING, done)),
                check=check,
            )
    segments = group_into_segments(words, smooth_speakers(words, assign_word_speakers(words, turns)))
    if options.diarize:
        speakers = {word.speaker for segment in segments for word in segment.words} - {None}
        warnings += review.describe_speakers(len(words), len(speakers), options.min_speakers)
    return TranscriptionResult(
        segments=tuple(rename_speakers(segments)),
        language=language,
        duration=round(len(samples) / SAMPLE_RATE, 3),
        confidence=round(sum(word.probability for word in words) / len(words), 4) if words else 0.0,
        device=device,
        model=options.model,
        has_diarization=options.diarize,
        translated=options.translate,
        warnings=tuple(warnings),
    )


def load_engine(options: TranscriptionOptions, check: Check = lambda: None, *, seconds: float = 0.0) -> Engine:
    """Find the options' model (see `models.store.whisper`) and load it (see `stt.ctranslate.CTranslateEngine`).

    Args:
        options: model and device; language and speakers do not matter here.
        check: called between finding and loading; may raise to stop.
        seconds: of audio that is to be decoded in batches; 0: windows come one by one.

    Raises:
        WorkError: see the two.
    """
    use_passive_waits()
    if options.translate:
        require_translation(options.model)
    from steno_runtime.stt.ctranslate import CTranslateEngine, default_workers

    folder = store.whisper(options.model_store, options.model, options.hub_downloads, options.model_digests)
    check()
    engine = CTranslateEngine(
        folder,
        device=options.device,
        compute_type=options.compute_type,
        batch_size=options.batch_size,
        batch_divisor=options.batch_divisor,
        memory_mib=options.memory_mib,
        workers=default_workers(math.inf if options.side_by_side else seconds, available_cores()),
        translate=options.translate,
    )
    if options.translate:
        require_translation(options.model, engine.languages)
    return engine


def _find_speaker_models(options: TranscriptionOptions) -> PipelineFactory | None:
    """Find the speaker models before anything is decoded: a missing model or a refused token then costs nothing."""
    if not options.diarize:
        return None
    from steno_runtime.stt.diarization import find_speaker_models

    return find_speaker_models(
        options.model_store,
        digests=options.model_digests,
        token=options.hf_token,
        min_speakers=options.min_speakers,
        max_speakers=options.max_speakers,
    )


def _requested_language(options: TranscriptionOptions, engine: Engine) -> str | AutoLanguage:
    """Return the language, or from what to choose it.

    Raises:
        WorkError: `InvalidSpec`: the model does not know it, or `language` and `languages` exclude each other.
    """
    allowed = allowed_languages(options.languages, engine.languages, options.model)
    if options.language not in (None, "auto"):
        if allowed:
            message = "languages restricts what is detected: leave language out (auto), or leave languages out."
            raise WorkError(FailureReason.INVALID_SPEC, message)
        return require_language(options.language, engine.languages, options.model)
    candidates = allowed or engine.languages
    return AutoLanguage(allowed=allowed) if len(candidates) > 1 else next(iter(candidates))


def _decode(
    samples: Samples,
    chunks: Sequence[Chunk],
    engine: Engine,
    *,
    language: str | AutoLanguage,
    on_progress: ProgressCallback,
    check: Check,
) -> list[Decoded]:
    total = sum(chunk.seconds for chunk in chunks)
    done, count = 0.0, 0

    def on_decoded(batch: Sequence[int]) -> None:
        nonlocal done, count
        done += sum(chunks[index].seconds for index in batch)
        count += len(batch)
        message = f"chunk {count} of {len(chunks)}"
        on_progress(ProgressUpdate(Stage.DECODING, done / total, audio_seconds=round(done, 1), message=message))

    if chunks:
        on_progress(ProgressUpdate(Stage.DECODING, audio_seconds=0.0))  # the first batch may be half of the work
    languages = [language] * len(chunks)
    return decode_chunks(
        samples, chunks, languages, engine, check=check, profile=profiles_of(chunks), on_decoded=on_decoded
    )


def _decode_again(
    samples: Samples,
    chunks: Sequence[Chunk],
    decoded: Sequence[Decoded],
    engine: Engine,
    *,
    languages: Sequence[str],
    check: Check,
) -> list[Decoded]:
    """Decode the chunks again that were decoded in another language than the one they are in, all considered."""
    wrong = [
        index
        for index, (chunk, row) in enumerate(zip(chunks, decoded, strict=True))
        if row.language != languages[index] and not (chunk.is_doubtful and review.is_hallucinated(chunk, row))
    ]
    own = [chunks[index] for index in wrong]
    again = decode_chunks(
        samples, own, [languages[index] for index in wrong], engine, check=check, profile=profiles_of(own)
    )
    replaced = dict(zip(wrong, again, strict=True))
    return [replaced.get(index, row) for index, row in enumerate(decoded)]


def _decode_uncovered(
    samples: Samples,
    spans: Sequence[Span],
    words: list[TimedWord],
    engine: Engine,
    *,
    doubtful: Sequence[Chunk],
    language: str | AutoLanguage,
    check: Check,
) -> tuple[list[TimedWord], list[Span]]:
    """Decode speech that no word covers on its own, once: a decoder that ends early in a window loses the rest of it.

    Args:
        samples: of all audio.
        spans: of speech.
        words: that were decoded.
        engine: decodes.
        doubtful: chunks that are not worth it.
        language: see `_decode`.
        check: see `decode_chunks`.

    Returns:
        All words, and the speech that still has none.
    """
    gaps = review.uncovered_speech(spans, words)
    again = [gap for gap in gaps if not any(one.start <= gap.start < one.end for one in doubtful)]
    chunks = [chunk for gap in again for chunk in pack([gap], len(samples))]
    if not chunks:
        return words, gaps
    languages = [_expecting(language, words, chunk) for chunk in chunks]
    decoded = decode_chunks(samples, chunks, languages, engine, check=check, profile=DecodeProfile.BEAM)
    found, _ = _words_of(chunks, decoded, gaps)
    added = [word for gap in gaps for word in review.words_within(found, gap)]
    words = sorted([*words, *added], key=lambda word: word.start)
    return words, review.uncovered_speech(gaps, words)


def _expecting(language: str | AutoLanguage, words: Sequence[TimedWord], chunk: Chunk) -> str | AutoLanguage:
    """Return a language that is detected with the expectation that it is that of the nearest words."""
    if isinstance(language, str) or not words:
        return language
    middle = (chunk.start + chunk.end) / 2 / SAMPLE_RATE
    nearest = min(words, key=lambda word: abs((word.start + word.end) / 2 - middle))
    return replace(language, expected=nearest.language)


def _words_of(
    chunks: Sequence[Chunk], decoded: Sequence[Decoded], spans: Sequence[Span]
) -> tuple[list[TimedWord], list[Chunk]]:
    """Return the words of all chunks in seconds of the audio, and the chunks whose text is hallucinated."""
    words: list[TimedWord] = []
    dropped: list[Chunk] = []
    for chunk, row in zip(chunks, decoded, strict=True):
        if review.is_hallucinated(chunk, row):
            dropped += [chunk] if row.text.strip() else []
            continue
        words.extend(
            replace(
                word,
                start=chunk.time_of(word.start),
                end=chunk.time_of(word.end, is_end=True),
                language=row.language,
            )
            for word in row.words
        )
    return clamp_to_speech(words, [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in spans]), dropped


def _realign(
    samples: Samples,
    words: list[TimedWord],
    options: TranscriptionOptions,
    *,
    device: str,
    on_progress: ProgressCallback,
    check: Check,
    turn: Callable[[], AbstractContextManager[None]],
) -> list[TimedWord]:
    """Time words with WhisperX and a wav2vec2 model where the store has one of their language (`align-<language>`)."""
    found = {
        language: store.find(options.model_store, f"align-{language}", ("config.json",), options.model_digests)
        for language in dict.fromkeys(word.language for word in words if word.language)
    }
    models = {language: folder for language, folder in found.items() if folder is not None}
    if not models:
        return words
    from steno_runtime.stt.alignment import realign

    timed = [word for word in words if word.language not in models]
    for index, (language, folder) in enumerate(models.items()):
        with turn():
            timed += realign(
                samples,
                [word for word in words if word.language == language],
                language=language,
                folder=folder,
                device=device,
                on_progress=lambda done, index=index: on_progress(
                    ProgressUpdate(Stage.ALIGNING, (index + done) / len(models))
                ),
                check=check,
            )
    return timed if len(found) == 1 else in_order(sorted(timed, key=lambda word: word.start))
