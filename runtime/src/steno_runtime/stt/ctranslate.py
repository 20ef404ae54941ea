# ruff: noqa: RUF001 - full-width punctuation is meant
"""Whisper through CTranslate2 in this process, in windows no longer than the speech needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.cores import available_cores
from steno_runtime.errors import WorkError
from steno_runtime.stt.chunks import FULL_FRAMES, SAMPLE_RATE, TAIL_FRAMES, bucket, frames_of
from steno_runtime.stt.engine import UNSPACED, Decoded, Effort, TimedWord, compression, suspicious

if TYPE_CHECKING:
    import numpy as np

    from steno_runtime.stt.engine import Samples

BEAM = 5
FALLBACK_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
MAX_LENGTH = 448
_PREPENDED = "\"'“¿([{-「『（《"
_APPENDED = "\"'.。,，!！?？:：”)]}、」』）》…"
_GIB = 1024**3


def choose_device(wanted: str) -> str:
    """`auto` is the GPU when there is one.

    Raises:
        WorkError: `InvalidSpec` when a GPU is asked for and there is none.
    """
    import ctranslate2

    gpus = ctranslate2.get_cuda_device_count() if wanted != "cpu" else 0
    if wanted == "cuda" and not gpus:
        raise WorkError(
            FailureReason.INVALID_SPEC, "A GPU is asked for, but none is visible here. Choose a profile that has one."
        )
    return "cuda" if gpus else "cpu"


def default_batch_size(device: str, memory_mib: int | None = None) -> int:
    """Windows decoded at once: 8 on a CPU (measured: 4 to 8 are alike), by memory on a GPU.

    Args:
        device: `cpu` or `cuda`.
        memory_mib: GPU memory this process has for itself; None: all of the device's.
    """
    if device == "cpu":
        return 8
    if memory_mib is None:
        import torch  # only where nothing else says it: asking CTranslate2 for its memory is not possible

        total = torch.cuda.get_device_properties(0).total_memory / _GIB
    else:
        total = memory_mib / 1024
    return 8 if total < 10 else 16 if total < 20 else 32 if total < 60 else 64


class CTranslateEngine:
    """`Engine` in this process.

    Args:
        folder: a CTranslate2 Whisper directory.
        device: `auto`, `cuda` or `cpu`.
        compute_type: CTranslate2's; `auto` is float16 on a GPU and int8 on a CPU.
        batch_size: windows at once; None chooses.
        batch_divisor: divides the batch size, after running out of memory.
        memory_mib: GPU memory to choose the batch size by; None: the device's.

    Raises:
        WorkError: `ModelNotFound` when the directory is not such a model, `InvalidSpec` when the device cannot do
            what is asked, `OutOfMemory` when the model does not fit.
    """

    def __init__(
        self,
        folder: Path,
        *,
        device: str = "auto",
        compute_type: str = "auto",
        batch_size: int | None = None,
        batch_divisor: int = 1,
        memory_mib: int | None = None,
    ) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel
        from faster_whisper.feature_extractor import FeatureExtractor

        self.device = choose_device(device)
        if compute_type == "auto":
            compute_type = "float16" if self.device == "cuda" else "int8"
        try:
            self._whisper = WhisperModel(
                str(folder),
                device=self.device,
                compute_type=compute_type,
                cpu_threads=available_cores(),
                local_files_only=True,
            )
        except ValueError as err:  # CTranslate2's word for a compute type the device lacks
            raise WorkError(FailureReason.INVALID_SPEC, f"Model {folder.name!r} cannot be loaded: {err}") from err
        except RuntimeError as err:
            raise _explained(err, f"Model {folder.name!r} cannot be loaded", FailureReason.MODEL_NOT_FOUND) from err
        self._model = self._whisper.model
        ctranslate2.set_random_seed(0)  # fallback samples: a retried attempt should say what the first would have
        # Not WhisperModel's own: that one needs preprocessor_config.json, which not every copy of a model has.
        self._features = FeatureExtractor(feature_size=self._model.n_mels)
        self.batch_size = max(1, (batch_size or default_batch_size(self.device, memory_mib)) // batch_divisor)
        self.languages = frozenset(self._whisper.supported_languages)
        self._tokenizers: dict[str, Any] = {}

    def detect_languages(self, windows: Sequence[Samples]) -> list[Mapping[str, float]]:
        """See `Engine`."""
        if not self._model.is_multilingual:
            return [{"en": 1.0} for _ in windows]
        try:
            found = self._model.detect_language(self._encode(windows, FULL_FRAMES))
        except RuntimeError as err:
            raise _explained(err, "Detecting the language failed", FailureReason.INTERNAL) from err
        return [{token[2:-2]: probability for token, probability in row} for row in found]

    def decode(self, windows: Sequence[Samples], language: str, effort: Effort = Effort.BATCH) -> list[Decoded]:
        """See `Engine`."""
        if not windows:
            return []
        size = max(bucket(frames_of(len(window))) for window in windows)
        try:
            decoded = self._decode(windows, language, size, most=size, draft=effort is Effort.DRAFT)
            again = [index for index, one in enumerate(decoded) if _doubtful(one, windows[index])]
            if again and effort is not Effort.DRAFT:
                retried = self._retry(
                    [windows[index] for index in again], language, [decoded[i] for i in again], size, effort
                )
                for index, one in zip(again, retried, strict=True):
                    decoded[index] = one
        except RuntimeError as err:
            raise _explained(err, "Decoding failed", FailureReason.INTERNAL) from err
        return decoded

    def _retry(
        self, windows: Sequence[Samples], language: str, first: Sequence[Decoded], size: int, effort: Effort
    ) -> list[Decoded]:
        """Decodes in the full window, then ever more freely, until the text is plausible; else the likeliest stays."""
        best = list(first)
        todo = list(range(len(windows)))
        # Beam search in the full window first, unless that is what failed.
        temperatures = (0.0,) if size < FULL_FRAMES else ()
        if effort is Effort.BATCH:
            temperatures += FALLBACK_TEMPERATURES
        for temperature in temperatures:
            rows = self._decode([windows[index] for index in todo], language, FULL_FRAMES, temperature, most=size)
            for index, row in zip(todo, rows, strict=True):
                settled = not _doubtful(row, windows[index])
                if settled or _plausibility(row) > _plausibility(best[index]):
                    best[index] = Decoded(
                        row.text, row.words, row.average_log_probability, row.no_speech_probability, retried=True
                    )
            # Nothing said in the full window either, and sure of it: temperature would only invent something.
            todo = [
                index
                for index, row in zip(todo, rows, strict=True)
                if _doubtful(row, windows[index]) and (row.text.strip() or row.no_speech_probability < 0.6)
            ]
            if not todo:
                break
        return best

    def _decode(
        self,
        windows: Sequence[Samples],
        language: str,
        size: int,
        temperature: float = 0.0,
        *,
        most: int,
        draft: bool = False,
    ) -> list[Decoded]:
        """Decodes in windows of `size` frames what fits the bucket of `most` frames."""
        tokenizer = self._tokenizer(language)
        encoded = self._encode(windows, size)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        search: dict[str, Any] = (
            {"beam_size": 1 if draft else BEAM}
            if temperature == 0
            else {"beam_size": 1, "num_hypotheses": BEAM, "sampling_topk": 0, "sampling_temperature": temperature}
        )
        # By the bucket, not by the longest row: a window's text must not depend on which others it is decoded with.
        longest = (most - TAIL_FRAMES) / 100
        results = self._model.generate(
            encoded,
            [prompt] * len(windows),
            # A decoder gone astray must not run to 448 tokens while the others wait: nobody says 20 tokens a second.
            max_length=min(MAX_LENGTH, len(prompt) + 24 + int(20 * longest)),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed(tokenizer),
            length_penalty=1.0,
            **search,
        )
        texts = [[token for token in result.sequences_ids[0] if token < tokenizer.eot] for result in results]
        times = (
            [()] * len(texts)
            if draft
            else self._align(encoded, tokenizer, texts, [frames_of(len(window)) for window in windows])
        )
        decoded: list[Decoded] = []
        for result, tokens, words in zip(results, texts, times, strict=True):
            length = len(result.sequences_ids[0])
            # The score is the sum of log probabilities over the length (length_penalty 1); the end token counts too.
            average = result.scores[0] * length / (length + 1)
            decoded.append(Decoded(tokenizer.decode(tokens).strip(), words, average, result.no_speech_prob))
        return decoded

    def _align(
        self, encoded: Any, tokenizer: Any, texts: Sequence[list[int]], frames: Sequence[int]
    ) -> list[tuple[TimedWord, ...]]:
        """Times words by Whisper's own cross-attention; rows without text have none."""
        from faster_whisper.transcribe import merge_punctuations

        # One row of words for each row of the batch: faster-whisper's annotations say otherwise.
        align: Any = self._whisper.find_alignment
        rows = align(tokenizer, list(texts), encoded, list(frames))
        timed: list[tuple[TimedWord, ...]] = []
        for row in rows:
            merge_punctuations(row, _PREPENDED, _APPENDED)
            timed.append(_words(row, spaced=tokenizer.language_code not in UNSPACED))
        return timed

    def _encode(self, windows: Sequence[Samples], size: int) -> Any:
        import numpy as np
        from faster_whisper.transcribe import get_ctranslate2_storage

        batch = np.zeros((len(windows), self._model.n_mels, size), np.float32)
        for row, window in enumerate(windows):
            mel = self._mel(window)[:, :size]
            batch[row, :, : mel.shape[1]] = mel
        return self._model.encode(get_ctranslate2_storage(batch), to_cpu=False)

    def _mel(self, window: Samples) -> np.ndarray[Any, Any]:
        return self._features(window, padding=160)[..., :-1]

    def _tokenizer(self, language: str) -> Any:
        if language not in self._tokenizers:
            from faster_whisper.tokenizer import Tokenizer

            self._tokenizers[language] = Tokenizer(
                self._whisper.hf_tokenizer, self._model.is_multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def _suppressed(self, tokenizer: Any) -> list[int]:
        from faster_whisper.transcribe import get_suppressed_tokens

        return list(get_suppressed_tokens(tokenizer, [-1]) or ())  # pyright: ignore[reportArgumentType]


def _words(row: Sequence[Mapping[str, Any]], *, spaced: bool) -> tuple[TimedWord, ...]:
    """Makes words of what alignment gives; where words are spaced, what has no space before it (`%`) joins its word."""
    words: list[TimedWord] = []
    for item in row:
        raw, text = str(item["word"]), str(item["word"]).strip()
        if not text:
            continue
        start, end = float(item["start"]), float(item["end"])
        probability = min(1.0, max(0.0, float(item["probability"])))
        space = raw.startswith(" ")
        if spaced and words and not space:
            last = words[-1]
            words[-1] = TimedWord(last.text + text, last.start, max(last.end, end), last.probability, last.spaced)
        else:
            words.append(TimedWord(text, start, end, probability, spaced or space))
    return tuple(words)


def _doubtful(decoded: Decoded, window: Samples) -> bool:
    return suspicious(decoded.text, len(window) / SAMPLE_RATE, decoded.average_log_probability)


def _plausibility(decoded: Decoded) -> tuple[bool, bool, float]:
    return bool(decoded.text), compression(decoded.text) <= 2.4, decoded.average_log_probability


def _explained(err: RuntimeError, what: str, otherwise: FailureReason) -> WorkError:
    text = str(err)
    if "out of memory" in text.lower() or "bad alloc" in text.lower() or "bad_alloc" in text.lower():
        return WorkError(
            FailureReason.OUT_OF_MEMORY,
            f"{what}: the device's memory is not enough. A smaller batchSize, model or computeType needs less.",
        )
    return WorkError(otherwise, f"{what}: {text[:300]}")
