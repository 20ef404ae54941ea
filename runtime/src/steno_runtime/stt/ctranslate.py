"""Whisper through CTranslate2 in this process.

Windows are only as long as the speech needs, not 30 s each: the encoder is most of the cost of short speech.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steno_api.failures import FailureReason
from steno_runtime.cores import available_cores
from steno_runtime.errors import WorkError, explain, is_out_of_memory
from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import FULL_FRAMES, longest_audio, mel_frames
from steno_runtime.stt.engine import (
    LOG_PROB_THRESHOLD,
    NO_SPEECH_THRESHOLD,
    AutoLanguage,
    Decoded,
    DecodeProfile,
    TimedWord,
    needs_fallback,
)
from steno_runtime.stt.languages import language_tag
from steno_runtime.stt.quantization import byte_sums_overflow, quantized_files
from steno_runtime.stt.repetition import is_loop, is_repetitive, longest_run
from steno_runtime.stt.tokenizers import Tokenizers

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

BEAM_SIZE = 5
FALLBACK_TEMPERATURES = (0.4,)
"""Each is one more decode of five hypotheses, for text that is mostly dropped in the end: music and noise."""
MAX_LENGTH = 448
MAX_WORKERS = 4
"""Each has a batch of its own in memory."""
WORKER_SECONDS = 17.0
"""Of audio from which on another worker has something to do."""
SILENT_SAMPLES = 480
"""Silence after a window's audio from which the last frame of its features hears nothing else."""
FEATURE_RANGE = 2.0
"""Whisper's features: silence is this far below the loudest frame (80 dB), but never below `SILENT_FEATURE`."""
SILENT_FEATURE = -1.5
_GIB = 1024**3


def choose_device(wanted: str) -> str:
    """Return `cuda` or `cpu`; `auto` chooses the GPU if there is one.

    Raises:
        WorkError: `InvalidSpec` when a GPU is requested and none is visible.
    """
    import ctranslate2

    gpus = ctranslate2.get_cuda_device_count() if wanted != "cpu" else 0
    if wanted == "cuda" and not gpus:
        raise WorkError(
            FailureReason.INVALID_SPEC, "A GPU is requested, but none is visible here. Choose a profile that has one."
        )
    return "cuda" if gpus else "cpu"


def default_workers(seconds: float, cores: int) -> int:
    """Return how many calls a CPU should run side by side: one for each core, as far as there are chunks to decode.

    Args:
        seconds: of audio that is to be decoded; 0: windows come one by one; infinite: there are always more.
        cores: that there are.
    """
    return max(1, min(cores, MAX_WORKERS, int(min(seconds / WORKER_SECONDS, MAX_WORKERS))))


def default_batch_size(device: str, memory_mib: int | None = None) -> int:
    """Return the number of windows to decode at once: 8 on a CPU (measured: 4 to 8 are alike), by memory on a GPU.

    Args:
        device: `cpu` or `cuda`.
        memory_mib: GPU memory (MiB) this process has for itself; None: all of the device's.
    """
    if device == "cpu":
        return 8
    if memory_mib is None:
        import torch  # only where it is needed: CTranslate2 cannot be asked for the device's memory

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
        batch_size: windows decoded at once; None: by the device.
        batch_divisor: divides the batch size, after an attempt that ran out of memory.
        memory_mib: GPU memory (MiB) to choose the batch size by; None: the device's.
        workers: calls to run side by side on a CPU; its cores are divided among them. One on a GPU.
        translate: whether to write English, whatever is spoken.

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
        workers: int = 1,
        translate: bool = False,
    ) -> None:
        import ctranslate2
        from faster_whisper import WhisperModel
        from faster_whisper.feature_extractor import FeatureExtractor

        self.device = choose_device(device)
        self.workers = workers if self.device == "cpu" else 1
        if compute_type == "auto":
            compute_type = "float16" if self.device == "cuda" else "int8"
        files: Any = None  # those of the folder
        if self.device == "cpu" and compute_type == "int8" and byte_sums_overflow():
            files = quantized_files(folder)
        try:
            self._whisper = WhisperModel(
                str(folder),
                device=self.device,
                compute_type=compute_type,
                cpu_threads=max(1, available_cores() // self.workers),
                num_workers=self.workers,
                local_files_only=True,
                files=files,
            )
        except ValueError as err:  # what CTranslate2 raises for a compute type that the device lacks
            raise WorkError(FailureReason.INVALID_SPEC, f"Model {folder.name!r} cannot be loaded: {err}") from err
        except RuntimeError as err:
            raise _work_error(err, f"Model {folder.name!r} cannot be loaded", FailureReason.MODEL_NOT_FOUND) from err
        self._model = self._whisper.model
        ctranslate2.set_random_seed(0)  # fallback samples: a retried attempt should say what the first would have
        # Not WhisperModel's own: that one needs preprocessor_config.json, which not every copy of a model has.
        self._features = FeatureExtractor(feature_size=self._model.n_mels)
        windows = batch_size or default_batch_size(self.device, memory_mib)
        self.batch_size = max(1, windows // self.workers // batch_divisor)
        self.languages = frozenset(map(language_tag, self._whisper.supported_languages))
        self._tokenizers = Tokenizers(self._whisper, translate=translate)

    def detect_languages(self, windows: Sequence[Samples]) -> list[Mapping[str, float]]:
        """Return the probability of each language in each window; see `Engine`."""
        try:
            return self._probabilities(self._encode(windows, FULL_FRAMES))
        except RuntimeError as err:
            raise _work_error(err, "Detecting the language failed", FailureReason.INTERNAL) from err

    def decode(
        self,
        windows: Sequence[Samples],
        language: str | AutoLanguage,
        profile: DecodeProfile = DecodeProfile.BEAM_WITH_FALLBACK,
    ) -> list[Decoded]:
        """Decode windows; see `Engine`."""
        if not windows:
            return []
        size = max(profile.window_frames(len(window)) for window in windows)
        try:
            if isinstance(language, str):
                return self._decode_checked(windows, language, size, profile)
            return self._decode_detected(windows, language, size, profile)
        except RuntimeError as err:
            raise _work_error(err, "Decoding failed", FailureReason.INTERNAL) from err

    def _decode_detected(
        self, windows: Sequence[Samples], auto: AutoLanguage, size: int, profile: DecodeProfile
    ) -> list[Decoded]:
        """Decode each window in the language that is heard in it; see `_decode_checked`."""
        # All windows are mostly of one language: what was encoded to detect it is then decoded.
        encoded = self._encode(windows, size)
        found = self._probabilities(encoded)
        languages = [auto.choose(row, len(window) / SAMPLE_RATE) for row, window in zip(found, windows, strict=True)]
        decoded: dict[int, Decoded] = {}
        for language in dict.fromkeys(languages):
            own = [index for index, one in enumerate(languages) if one == language]
            reused = encoded if len(own) == len(windows) else None
            rows = self._decode_checked([windows[index] for index in own], language, size, profile, reused)
            decoded.update((index, replace(row, languages=found[index])) for index, row in zip(own, rows, strict=True))
        return [decoded[index] for index in range(len(windows))]

    def _decode_checked(
        self, windows: Sequence[Samples], language: str, size: int, profile: DecodeProfile, encoded: Any = None
    ) -> list[Decoded]:
        """Decode windows of one language, and those whose text fails the checks once more.

        Args:
            windows: see `Engine`.
            language: ISO 639 code.
            size: mel frames that each window is padded to.
            profile: see `Engine`.
            encoded: the windows, if they are encoded already.
        """
        greedy = profile is DecodeProfile.GREEDY
        max_seconds = longest_audio(size, profile.tail_frames)
        decoded = self._decode(windows, language, size, max_seconds=max_seconds, greedy=greedy, encoded=encoded)
        again = [index for index, one in enumerate(decoded) if profile.retries and _needs_fallback(one, windows[index])]
        if again:
            retried = self._decode_with_fallback(
                [windows[index] for index in again], language, [decoded[i] for i in again], size, profile
            )
            for index, one in zip(again, retried, strict=True):
                decoded[index] = one
        return decoded

    def _decode_with_fallback(
        self, windows: Sequence[Samples], language: str, first: Sequence[Decoded], size: int, profile: DecodeProfile
    ) -> list[Decoded]:
        """Decode in the full window, then by sampling, until the text passes; else keep the most plausible.

        Args:
            windows: whose first text failed the checks.
            language: ISO 639 code.
            first: the first result of each.
            size: mel frames of the windows that they were decoded in.
            profile: `BEAM` ends with the full window.
        """
        max_seconds = longest_audio(size, profile.tail_frames)
        best = list(first)
        todo = list(range(len(windows)))
        # Beam search in the full window first, unless that is what failed.
        temperatures = (0.0,) if size < FULL_FRAMES else ()
        if profile is DecodeProfile.BEAM_WITH_FALLBACK:
            temperatures += FALLBACK_TEMPERATURES
        for temperature in temperatures:
            again = [windows[index] for index in todo]
            rows = self._decode(again, language, FULL_FRAMES, temperature, max_seconds=max_seconds)
            left: list[int] = []
            for index, row in zip(todo, rows, strict=True):
                passed = not _needs_fallback(row, windows[index]) or _confirmed(best[index], row, windows[index])
                if passed or _plausibility(row) > _plausibility(best[index]):
                    best[index] = row
                # No text in the full window either, and sure of it: a temperature would only make something up.
                if not passed and (row.text.strip() or row.no_speech_prob < NO_SPEECH_THRESHOLD):
                    left.append(index)
            todo = left
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
        max_seconds: float,
        greedy: bool = False,
        encoded: Any = None,
    ) -> list[Decoded]:
        """Decode in windows of `size` mel frames.

        Args:
            windows: see `Engine`.
            language: ISO 639 code.
            size: mel frames that each window is padded to.
            temperature: 0: search; above: sampling.
            max_seconds: bounds the text's length: of audio, in any window of the bucket that these fit. Not the longest
                row: a window's text must not depend on which others it is decoded with.
            greedy: no beam search, and no word times.
            encoded: the windows, if they are encoded in that size already.
        """
        tokenizer = self._tokenizers.of(language)
        if encoded is None:
            encoded = self._encode(windows, size)
        prompt = [*tokenizer.sot_sequence, tokenizer.no_timestamps]
        search: dict[str, Any] = (
            {"beam_size": 1 if greedy else BEAM_SIZE}
            if temperature == 0
            else {"beam_size": 1, "num_hypotheses": BEAM_SIZE, "sampling_topk": 0, "sampling_temperature": temperature}
        )
        results = self._model.generate(
            encoded,
            [prompt] * len(windows),
            # A decoder in a loop must not run to 448 tokens while the others wait: speech has under 20 tokens a second.
            max_length=min(MAX_LENGTH, len(prompt) + 24 + int(20 * max_seconds)),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._tokenizers.suppressed(language),
            length_penalty=1.0,
            **search,
        )
        texts = [[token for token in result.sequences_ids[0] if token < tokenizer.eot] for result in results]
        times = (
            [()] * len(texts)
            if greedy
            else self._align(encoded, language, texts, [mel_frames(len(window)) for window in windows])
        )
        decoded: list[Decoded] = []
        for result, tokens, words in zip(results, texts, times, strict=True):
            length = len(result.sequences_ids[0])
            # The score is the sum of log probabilities over the length (length_penalty 1); the end token counts too.
            average = result.scores[0] * length / (length + 1)
            decoded.append(Decoded(tokenizer.decode(tokens).strip(), words, average, result.no_speech_prob, language))
        return decoded

    def _align(
        self, encoded: Any, language: str, texts: Sequence[list[int]], frames: Sequence[int]
    ) -> list[tuple[TimedWord, ...]]:
        """Time words by Whisper's own cross-attention; rows without text have none."""
        # One row of words for each row of the batch: faster-whisper's annotations say otherwise.
        align: Any = self._whisper.find_alignment
        rows = align(self._tokenizers.of(language), list(texts), encoded, list(frames))
        return [self._tokenizers.words(row, language) for row in rows]

    def _encode(self, windows: Sequence[Samples], size: int) -> Any:
        import numpy as np
        from faster_whisper.transcribe import get_ctranslate2_storage

        batch = np.empty((len(windows), self._model.n_mels, size), np.float32)
        for row, window in enumerate(windows):
            # Up to a frame that hears nothing of the audio: the rest is silence to the decoder as well. Zeros would be
            # noise 40 dB below full scale, louder than quiet speech.
            mel = self._features(window, padding=SILENT_SAMPLES)[:, :size]
            batch[row, :, : mel.shape[1]] = mel
            batch[row, :, mel.shape[1] :] = max(SILENT_FEATURE, mel.max() - FEATURE_RANGE)
        return self._model.encode(get_ctranslate2_storage(batch), to_cpu=False)

    def _probabilities(self, encoded: Any) -> list[Mapping[str, float]]:
        """Return the probability of each language in encoded windows: one step of the decoder."""
        if not self._model.is_multilingual:
            return [{"en": 1.0}] * encoded.shape[0]
        found = self._model.detect_language(encoded)
        return [{language_tag(token[2:-2]): probability for token, probability in row} for row in found]


def _needs_fallback(decoded: Decoded, window: Samples) -> bool:
    return needs_fallback(decoded.text, len(window) / SAMPLE_RATE, decoded.avg_logprob)


def _confirmed(first: Decoded, second: Decoded, window: Samples) -> bool:
    """Tell whether two windows of different sizes hear the same repetition, which can be said in that time."""
    seconds = len(window) / SAMPLE_RATE
    if second.avg_logprob < LOG_PROB_THRESHOLD or is_loop(second.text, seconds):
        return False
    before, after = longest_run(first.text), longest_run(second.text)
    return before is not None and after is not None and before.phrase == after.phrase


def _plausibility(decoded: Decoded) -> tuple[bool, bool, float]:
    return bool(decoded.text), not is_repetitive(decoded.text), decoded.avg_logprob


def _work_error(err: RuntimeError, what: str, otherwise: FailureReason) -> WorkError:
    if is_out_of_memory(err):
        return explain(err, f"{what}: the engine", remedy="A smaller batchSize, model or computeType needs less.")
    return WorkError(otherwise, f"{what}: {str(err)[:300]}")
