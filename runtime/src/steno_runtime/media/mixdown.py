"""Downmix to mono, by what the channels hold instead of by what a layout says they are for.

A fixed matrix loses a voice: on the effects channel of a surround layout, between two channels of opposite polarity, or
in a file with more channels than any layout. Here each channel counts by its share of the power, and where they cancel
each other the loudest one. Pure arithmetic on arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Channels = np.ndarray
    """float32, shape `(channels, samples)`."""

CANCELLED_RATIO = 0.25
"""Channels that have nothing in common mix to the sum of their weighted powers; less than this share of it is
cancellation."""
HALF_LIFE = 8_000
"""Samples after which a block counts half: a sixth to half a second."""
AUDIBLE = 1e-4
"""Peak of a block (-80 dB) below which it is silence."""
MAX_FLOAT_PEAK = 8.0
"""Floats beyond this were written in the range of integers; less is a mix that overshoots."""


def to_float(samples: np.ndarray, channels: int, *, planar: bool) -> Channels:
    """Return samples of any of FFmpeg's formats as float32, integers divided by their full scale.

    Args:
        samples: as PyAV returns a frame: `(channels, n)` if planar, else `(1, n * channels)`.
        channels: number of channels.
        planar: whether every channel has a row of its own.
    """
    rows = samples if planar else samples.reshape(-1, channels).T
    if rows.dtype == np.uint8:
        return (rows.astype(np.float32, order="C") - np.float32(128)) / np.float32(128)
    if np.issubdtype(rows.dtype, np.integer):
        return rows.astype(np.float32, order="C") / np.float32(-int(np.iinfo(rows.dtype).min))
    return rows.astype(np.float32, order="C")


@dataclass
class Mixdown:
    """Mixes the blocks of one recording, and counts what was not a plain mix.

    Attributes:
        channel: the one to take, from 0; None: all of them.
        samples: of one channel.
        audible: of these, in blocks that are not silent.
        cancelled: of these, in blocks whose channels cancelled each other.
        clipped: of these, at full scale.
        invalid: values that were not numbers, in any channel.
        peak: the largest absolute value.
    """

    channel: int | None = None
    samples: int = 0
    audible: int = 0
    cancelled: int = 0
    clipped: int = 0
    invalid: int = 0
    peak: float = 0.0
    _powers: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _mixed: float = 0.0

    def mix(self, block: Channels) -> np.ndarray:
        """Return one channel, shape `(samples,)`; NaN and infinity become 0."""
        block = self._finite(block)
        size = np.abs(block)
        peak = float(size.max(initial=0.0))
        self.peak = max(self.peak, peak)
        self.samples += block.shape[1]
        self.audible += block.shape[1] if peak >= AUDIBLE else 0
        self.clipped += int((size >= np.float32(0.999)).any(axis=0).sum()) if peak >= 0.999 else 0
        if self.channel is not None:
            return block[min(self.channel, len(block) - 1)]
        return block[0] if len(block) == 1 else self._mix(block, audible=peak >= AUDIBLE)

    def _mix(self, block: Channels, *, audible: bool) -> np.ndarray:
        """Mix by the power of the channels over the last moments, so that nothing changes within a word.

        Each is weighted by its share of the power: a limit below which one takes no part would change the level of the
        voice whenever the noise of the others crosses it.
        """
        powers = np.einsum("ij,ij->i", block, block, dtype=np.float64)
        keep = 0.5 ** (block.shape[1] / HALF_LIFE)
        self._powers = (keep * self._powers if len(self._powers) == len(powers) else 0.0) + powers
        total = float(self._powers.sum())
        if total == 0.0:
            return block[0]
        weights = self._powers / total
        mixed = weights.astype(np.float32) @ block
        self._mixed = keep * self._mixed + float(mixed @ mixed)
        if self._mixed >= CANCELLED_RATIO * float(np.square(weights) @ self._powers):
            return mixed
        self.cancelled += block.shape[1] if audible else 0
        return block[int(self._powers.argmax())]

    def _finite(self, block: Channels) -> Channels:
        finite = np.isfinite(block)
        if finite.all():
            return block
        self.invalid += int((~finite).sum())
        return np.where(finite, block, np.float32(0.0))
