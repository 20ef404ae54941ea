"""Speaker diarization pipeline with the GE2E speaker encoder. Imports torch: import it only to diarize.

pyannote embeds each window of the segmentation three times over, once for each local speaker, and windows overlap by
90 %. Here every stretch of 1.6 s (what GE2E was trained on) is embedded once, and a speaker of a window is the mean of
the stretches, weighted by the speaker's part of each: twenty times less work for the same result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_whisper.feature_extractor import FeatureExtractor
from pyannote.audio import Model
from pyannote.audio.core.plda import PLDA
from pyannote.audio.pipelines.speaker_diarization import SpeakerDiarization

from steno_runtime.media.audio import SAMPLE_RATE

DIMENSION = 256
_MELS, _HIDDEN, _LAYERS = 40, 256, 3
_STRETCH = 1.6
_HOP = 0.4
_FFT, _STEP = 400, 160
_BATCH = 64
_LEVEL = 10 ** (-30 / 10)
"""Power that quieter stretches are raised to (-30 dBFS), as in training."""


class SpeakerEncoder(Model):
    """The GE2E LSTM: from stretches of 1.6 s, (batch, samples), to unit vectors, (batch, 256)."""

    def __init__(self) -> None:
        super().__init__(sample_rate=SAMPLE_RATE, num_channels=1)
        self.lstm = torch.nn.LSTM(_MELS, _HIDDEN, _LAYERS, batch_first=True)
        self.linear = torch.nn.Linear(_HIDDEN, DIMENSION)
        filters = FeatureExtractor.get_mel_filters(SAMPLE_RATE, _FFT, n_mels=_MELS).astype(np.float32)
        self.register_buffer("filters", torch.from_numpy(filters), persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.window: torch.Tensor

    @classmethod
    def load(cls, path: Path) -> SpeakerEncoder:
        """Read the weights that Resemblyzer publishes (`pretrained.pt`)."""
        encoder = cls()
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        encoder.load_state_dict({name: value for name, value in state.items() if name.startswith(("lstm", "linear"))})
        return encoder.eval()

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return DIMENSION

    def forward(self, waveforms: torch.Tensor, **_: Any) -> torch.Tensor:
        """Embed stretches of sound: float32, (batch, samples), 16 kHz, to (batch, 256)."""
        gain = (_LEVEL / (waveforms.square().mean(dim=1) + 1e-10)).clamp(min=1.0)
        spectrum = torch.stft(
            waveforms, _FFT, _STEP, window=self.window, center=True, pad_mode="constant", return_complex=True
        )
        mels = (self.filters @ spectrum.abs().square())[..., :-1] * gain[:, None, None]
        _, (hidden, _) = self.lstm(mels.transpose(1, 2))
        return torch.nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


class _Pipeline(SpeakerDiarization):
    def get_embeddings(
        self,
        file: Any,
        binary_segmentations: Any,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> np.ndarray[Any, Any]:
        """Return an embedding for each (window, local speaker): (windows, speakers, 256), NaN for the silent."""
        del exclude_overlap
        active = np.nan_to_num(binary_segmentations.data)
        windows, frames, speakers = active.shape
        sliding = binary_segmentations.sliding_window
        frame = sliding.duration / frames
        # Activity summed up to each frame: how much of a stretch is a speaker's is one subtraction.
        summed = np.concatenate([np.zeros((windows, 1, speakers)), np.cumsum(active, axis=1)], axis=1)
        samples = file["waveform"][0]
        count = max(1, int(np.ceil((len(samples) / SAMPLE_RATE - _STRETCH) / _HOP)) + 1)
        begins = np.arange(count) * _HOP
        weights: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        needed = np.zeros(count, bool)
        for window in range(windows):
            start = sliding[window].start
            touched = np.nonzero((begins < start + sliding.duration) & (begins + _STRETCH > start))[0]
            low = np.clip(np.round((begins[touched] - start) / frame).astype(int), 0, frames)
            high = np.clip(np.round((begins[touched] + _STRETCH - start) / frame).astype(int), 0, frames)
            # Squared: a stretch that is half another speaker's says little.
            weight = ((summed[window, high] - summed[window, low]) * frame / _STRETCH) ** 2
            weights.append((touched, weight))
            needed[touched[weight.any(axis=1)]] = True
        embedded = self._embed(samples, begins, np.nonzero(needed)[0], hook)
        found = np.full((windows, speakers, DIMENSION), np.nan)
        for window, (touched, weight) in enumerate(weights):
            mean = weight.T @ embedded[touched]
            norm = np.linalg.norm(mean, axis=1)
            found[window, norm > 0] = mean[norm > 0] / norm[norm > 0, None]
        return found

    def _embed(
        self,
        samples: torch.Tensor,
        begins: np.ndarray[Any, Any],
        needed: np.ndarray[Any, Any],
        hook: Callable[..., None] | None,
    ) -> np.ndarray[Any, Any]:
        embedded = np.zeros((len(begins), DIMENSION), np.float32)
        length = round(_STRETCH * SAMPLE_RATE)
        encoder: Any = self._embedding.model_  # pyright: ignore[reportAttributeAccessIssue] - it is pyannote's own kind
        for first in range(0, len(needed), _BATCH):
            batch = needed[first : first + _BATCH]
            stretches = torch.zeros(len(batch), length)
            for row, index in enumerate(batch):
                begin = round(float(begins[index]) * SAMPLE_RATE)
                stretch = samples[begin : begin + length]
                stretches[row, : len(stretch)] = stretch
            with torch.inference_mode():
                embedded[batch] = encoder(stretches.to(encoder.device)).cpu().numpy()
            if hook is not None:
                hook("embeddings", None, total=len(needed), completed=first + len(batch))
        return embedded


def build_pipeline(segmentation: Model, encoder: Path, *, step: float) -> SpeakerDiarization:
    """Build the pipeline; nothing is downloaded.

    Args:
        segmentation: pyannote's segmentation model.
        encoder: weights of `SpeakerEncoder`.
        step: between the segmentation's windows, as a fraction of their length.
    """
    return _Pipeline(
        segmentation=segmentation,
        segmentation_step=step,
        embedding=SpeakerEncoder.load(encoder),
        # Agglomerative clustering has no use for a PLDA, but pyannote would download one.
        plda=PLDA.__new__(PLDA),
        clustering="AgglomerativeClustering",
        segmentation_batch_size=16,
    )
