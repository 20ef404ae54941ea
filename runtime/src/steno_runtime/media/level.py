"""Level of a recording: floats in the range of integers are scaled down, quiet speech is amplified for voice activity.

Whisper hears much the same at any level; Silero does not: below some -45 dB it hears nothing, and of a voice in noise
it may hear half as much 2 dB down. Audio that is loud enough is left as it is, but Silero is given it at one level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steno_api.documents.warnings import ResultWarning, WarningReason
from steno_runtime.media.mixdown import MAX_FLOAT_PEAK

if TYPE_CHECKING:
    from steno_runtime.media.mixdown import Mixdown

FRAME = 1600
"""Samples over which a level is measured (100 ms)."""
_SHORT = 5
"""Parts of a frame that are looked at for clicks (20 ms each)."""
CLICK_CREST = 8.0
"""Peak of 20 ms over their mean from which on they hold a click: that of speech is up to 6, of a single sample 18."""
QUIET_DB = -38.0
"""Level of the loud parts of a recording below which it is amplified."""
VERY_QUIET_DB = -50.0
"""Level below which noise of the recorder may be as loud as the speech, so that the amplification is worth a word."""
TARGET_DB = -24.0
DETECTION_DB = -18.0
"""Level at which voice activity is detected. On the even half of the corpus most speech is found from -20 to -15 dB; in
the recording that depends on it most, a quarter of that at -27 dB."""
SILENCE_PEAK = 1e-5
"""Peak below which there is nothing to amplify: less than one step of 16 bits."""
CANCELLED_SHARE = 0.2
"""Share of the audible samples whose channels cancel each other from which on something is wrong with the recording."""
CLIPPED_SHARE = 0.003
"""Share of samples at full scale from which on words are likely to be misheard."""


def loudness(samples: np.ndarray) -> float:
    """Return the level of the loud parts, in dB of full scale: the 95th percentile over frames of 100 ms."""
    whole = samples[: len(samples) // FRAME * FRAME]
    frames = (whole if len(whole) else samples).reshape(-1, FRAME if len(whole) else len(samples))
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / frames.shape[1]
    return _decibels(float(np.percentile(power, 95)))


def normalize(samples: np.ndarray) -> list[ResultWarning]:
    """Bring float32 samples, shape `(samples,)`, to a level that can be recognized, in place, and into [-1, 1].

    Clicks (single samples far above what is around them) do not count: one at full scale says nothing of the speech.

    Returns:
        What was changed, or is in the way of it.
    """
    found: list[ResultWarning] = []
    peak = float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if peak < SILENCE_PEAK:
        message = "The audio is silent from beginning to end: check what was recorded, and which track and channel."
        return [ResultWarning(reason=WarningReason.SILENT_TRACK, message=message)]
    level, usual = _without_clicks(samples)
    if usual > 1.0:
        samples /= np.float32(usual)
        level -= 20 * float(np.log10(usual))
    if usual > MAX_FLOAT_PEAK:
        message = "The samples are far beyond full scale, as floats in the range of integers: they were scaled down."
        found.append(ResultWarning(reason=WarningReason.INVALID_SAMPLES, message=message))
    elif peak > MAX_FLOAT_PEAK:
        message = "Some samples are far beyond full scale, and much louder than all around them: they were cut off."
        found.append(ResultWarning(reason=WarningReason.INVALID_SAMPLES, message=message))
    if level < QUIET_DB:
        gain = min(TARGET_DB - level, -20 * float(np.log10(min(1.0, usual))))
        if gain > 0:
            samples *= np.float32(10 ** (gain / 20))
            if level < VERY_QUIET_DB:
                message = f"The audio is very quiet ({level:.0f} dB) and was amplified by {gain:.0f} dB."
                found.append(ResultWarning(reason=WarningReason.LOW_LEVEL, message=message))
    np.clip(samples, -1.0, 1.0, out=samples)
    return found


def detection_gain(samples: np.ndarray) -> float:
    """Return the factor that brings a recording to `DETECTION_DB`, and at most to full scale; 1 where all is silent.

    Clicks do not count. The peak does, since the loud parts of a recording with little speech may be but its noise.
    """
    level, peak = _without_clicks(samples) if len(samples) else (0.0, 0.0)
    return min(10 ** ((DETECTION_DB - level) / 20), 1 / peak) if peak > 0 else 1.0


def _without_clicks(samples: np.ndarray) -> tuple[float, float]:
    """Return the loudness in dB and the peak of what is not a click; of all of it, if there is nothing else."""
    size = FRAME // _SHORT
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, size)
    peaks = np.maximum(frames.max(axis=1, initial=0.0), -frames.min(axis=1, initial=0.0))
    power = np.einsum("ij,ij->i", frames, frames, dtype=np.float64) / size
    steady = peaks <= CLICK_CREST * np.sqrt(power)
    if not peaks[steady].any():
        return loudness(samples), float(np.abs(samples).max())
    sums = np.where(steady, power, 0.0).reshape(-1, _SHORT).sum(axis=1)
    counts = steady.reshape(-1, _SHORT).sum(axis=1)
    rest = np.abs(samples[len(samples) // FRAME * FRAME :]).max(initial=0.0) if steady.all() else 0.0
    level = _decibels(float(np.percentile(sums[counts > 0] / counts[counts > 0], 95)))
    return level, float(max(peaks[steady].max(), rest))


def _decibels(power: float) -> float:
    return 10 * float(np.log10(max(1e-20, power)))


def mix_warnings(mix: Mixdown) -> list[ResultWarning]:
    """Return what the mixing of a recording's channels found."""
    found: list[ResultWarning] = []
    if mix.invalid:
        message = f"{mix.invalid} samples are not numbers (NaN or infinity) and were read as silence."
        found.append(ResultWarning(reason=WarningReason.INVALID_SAMPLES, message=message))
    if mix.cancelled > CANCELLED_SHARE * mix.audible:
        share = 100 * mix.cancelled / mix.audible
        message = (
            f"The channels cancel each other in {share:.0f} % of the recording (one may be inverted): there, the"
            " loudest channel was read alone."
        )
        found.append(ResultWarning(reason=WarningReason.MANY_CHANNELS, message=message))
    if mix.peak <= MAX_FLOAT_PEAK and mix.clipped > CLIPPED_SHARE * mix.samples:
        share = 100 * mix.clipped / mix.samples
        message = f"{share:.1f} % of the samples are at full scale: it was recorded too loud; words may be misheard."
        found.append(ResultWarning(reason=WarningReason.CLIPPED, message=message))
    return found
