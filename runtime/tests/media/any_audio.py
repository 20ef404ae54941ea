"""Random recordings: speech among silence and noise, at any level, on any channel, in any container and scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from hypothesis import strategies as st

from .recordings import RATE


@dataclass(frozen=True)
class Container:
    """A file format: extension, encoder, the layouts of FFmpeg's names that it takes, and its rates."""

    extension: str
    codec: str
    layouts: tuple[str, ...]
    rates: tuple[int, ...]
    floats: bool = False


ANY_LAYOUT = ("mono", "stereo", "5.1", "7.1")
ANY_RATE = (8_000, 16_000, 22_050, 44_100, 48_000)
HIGH = (16_000, 32_000, 44_100, 48_000)
CONTAINERS = (
    Container("wav", "pcm_s16le", (*ANY_LAYOUT, "9 channels"), ANY_RATE),
    Container("wav", "pcm_s24le", (*ANY_LAYOUT, "9 channels"), ANY_RATE),
    Container("wav", "pcm_s32le", ANY_LAYOUT, ANY_RATE),
    Container("wav", "pcm_f32le", (*ANY_LAYOUT, "9 channels"), ANY_RATE, floats=True),
    Container("wav", "pcm_f64le", ANY_LAYOUT, ANY_RATE, floats=True),
    Container("flac", "flac", ANY_LAYOUT, ANY_RATE),
    Container("mp3", "libmp3lame", ("mono", "stereo"), HIGH),
    Container("ogg", "libopus", ("mono", "stereo", "5.1"), (16_000, 48_000)),
    Container("webm", "libopus", ("mono", "stereo", "5.1"), (16_000, 48_000)),
    Container("mp4", "aac", ("mono", "stereo", "5.1"), HIGH),
    Container("mka", "pcm_s16le", ("mono", "stereo", "5.1"), ANY_RATE),
    Container("mka", "aac", ("mono", "stereo"), HIGH),
)


@dataclass(frozen=True)
class Recipe:
    """How a recording is made of clean speech.

    Attributes:
        container: what it is written to.
        layout: FFmpeg's name of its channels.
        rate: samples a second.
        channels: the factor of the speech on each channel.
        before: seconds of silence before the speech.
        after: and after it.
        snr: of white noise to the speech on its loudest channel, in dB; None: no noise.
        gain: of all of it, in dB.
        scale: of floats: 1, or the full scale of integers.
        invalid: number of samples that are not numbers.
        clicks: number of samples at full scale that are not the speech's.
        silent_track: whether a silent track comes first.
    """

    container: Container
    layout: str
    rate: int
    channels: tuple[float, ...]
    before: float
    after: float
    snr: float | None
    gain: float
    scale: float
    invalid: int
    clicks: int
    silent_track: bool
    seed: int


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Draw a recipe."""
    container = draw(st.sampled_from(CONTAINERS))
    layout = draw(st.sampled_from(container.layouts))
    channels = av.AudioLayout(layout).channels
    count = len(channels)
    # Lossy codecs keep nothing of speech on the channel for low-frequency effects.
    lossy = container.codec in ("aac", "libopus")
    voiced = [index for index, channel in enumerate(channels) if not (lossy and channel.name == "LFE")]
    only = st.sampled_from(voiced).map(lambda one: tuple(float(one == each) for each in range(count)))
    shared = st.sampled_from([(1.0,) * count, (1.0, *(0.3,) * (count - 1))])
    opposite = st.sampled_from([(1.0, -1.0), (-1.0, 0.9), (1.0, -0.5)])
    return Recipe(
        container=container,
        layout=layout,
        rate=draw(st.sampled_from(container.rates)),
        channels=draw(opposite | only | shared if count == 2 else only | shared),
        before=draw(st.sampled_from([0.0, 0.4, 3.0])),
        after=draw(st.sampled_from([0.0, 0.4, 3.0])),
        snr=draw(st.sampled_from([None, None, 30.0, 20.0, 10.0])),
        gain=draw(st.sampled_from([0.0, 0.0, -20.0, -40.0, -50.0, -60.0, 10.0, 20.0]) | st.floats(-60, 20)),
        scale=draw(st.sampled_from([1.0, 1.0, 2.0**15, 2.0**31])) if container.floats else 1.0,
        invalid=draw(st.sampled_from([0, 0, 1, 50])) if container.floats else 0,
        clicks=draw(st.sampled_from([0, 0, 0, 1, 3])),
        silent_track=container.extension == "mka" and draw(st.booleans()),
        seed=draw(st.integers(0, 2**16)),
    )


def expected(recipe: Recipe, speech: np.ndarray) -> np.ndarray:
    """Return what is to be heard: the clean speech between its silences, float32 at 16 kHz."""
    before, after = (np.zeros(int(seconds * RATE), np.float32) for seconds in (recipe.before, recipe.after))
    return np.concatenate([before, speech, after])


def make(recipe: Recipe, speech: np.ndarray, folder: Path) -> Path:
    """Write the recording to `folder`; return its path."""
    random = np.random.default_rng(recipe.seed)
    rows = np.outer(np.float32(recipe.channels), resampled(expected(recipe, speech), recipe.rate))
    if recipe.snr is not None:
        level = float(np.sqrt(np.mean(np.square(speech)))) * 10 ** (-recipe.snr / 20)
        rows += random.normal(0, level, rows.shape).astype(np.float32)
    rows *= np.float32(10 ** (recipe.gain / 20))
    for value, count in ((1.0, recipe.clicks), (np.nan, recipe.invalid)):
        rows[random.integers(len(rows), size=count), random.integers(rows.shape[1], size=count)] = value
    if not recipe.container.floats:
        rows = np.clip(rows, -1.0, 1.0)
    path = folder / f"{recipe.seed}.{recipe.container.extension}"
    with av.open(str(path), "w", format="matroska" if recipe.container.extension == "mka" else None) as target:
        tracks = [np.zeros_like(rows), rows] if recipe.silent_track else [rows]
        streams = [target.add_stream(recipe.container.codec, rate=recipe.rate, layout=recipe.layout) for _ in tracks]
        for stream, track in zip(streams, tracks, strict=True):
            packed = (track * np.float32(recipe.scale)).T.reshape(1, -1).copy()
            frame = av.AudioFrame.from_ndarray(packed, "flt", recipe.layout)
            frame.sample_rate = recipe.rate
            target.mux(stream.encode(frame))
            target.mux(stream.encode(None))
    return path


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return samples of 16 kHz at another rate."""
    if rate == RATE:
        return samples
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "flt", "mono")
    frame.sample_rate = RATE
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    return np.concatenate([each.to_ndarray()[0] for each in (*resampler.resample(frame), *resampler.resample(None))])
