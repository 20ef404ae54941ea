"""Recordings in containers and codecs of all kinds, made with PyAV."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16_000


def no_shift(position: float) -> float:
    """Return the time of a sample as it is."""
    return position


def write(
    path: Path,
    samples: np.ndarray,
    codec: str,
    rate: int = RATE,
    *,
    layout: str = "mono",
    container: str | None = None,
    options: dict[str, str] | None = None,
    tags: dict[str, str] | None = None,
    video: str | None = None,
    time_of: Callable[[float], float] = no_shift,
) -> Path:
    """Write a recording; return its path.

    Args:
        path: where to; its extension says which container, unless `container` does.
        samples: float32 at 16 kHz, shape `(samples,)` or `(channels, samples)`.
        codec: FFmpeg's name of the encoder.
        rate: samples a second in the file.
        layout: FFmpeg's name of the channels.
        container: FFmpeg's name of the container.
        options: of the container.
        tags: metadata.
        video: the encoder of a black picture that lasts as long; None: there is none.
        time_of: returns the time at which a sample is to be played, from its place in `samples`, both in seconds.
    """
    rows = np.atleast_2d(samples)
    with av.open(str(path), "w", format=container, options=options or {}) as target:
        target.metadata.update(tags or {})
        picture = None
        if video is not None:
            picture = target.add_stream(video, rate=10)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
        stream = target.add_stream(codec, rate=rate, layout=layout)
        if picture is not None:
            for number in range(int(10 * time_of(rows.shape[1] / RATE)) + 1):
                frame = av.VideoFrame(64, 64, "yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                target.mux(picture.encode(frame))
            target.mux(picture.encode(None))
        whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows.T).reshape(1, -1), "flt", layout)
        whole.sample_rate = RATE
        resampler = av.AudioResampler(format="flt", layout=layout, rate=rate, frame_size=1024)
        position = 0
        for frame in [*resampler.resample(whole), *resampler.resample(None)]:
            frame.pts, frame.time_base = round(time_of(position / rate) * rate), Fraction(1, rate)
            position += frame.samples
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return path


def find(samples: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
    """Return where in `samples` `wanted` is, in seconds, and how well it correlates there (-1 to 1)."""
    size = 1 << (len(samples) + len(wanted)).bit_length()
    products = np.fft.irfft(np.fft.rfft(samples, size) * np.conj(np.fft.rfft(wanted, size)), size)
    at = int(np.abs(products[: max(1, len(samples))]).argmax())
    heard = samples[at : at + len(wanted)]
    wanted = wanted[: len(heard)]
    if len(heard) < 2 or not heard.any() or not wanted.any():
        return at / RATE, 0.0
    return at / RATE, float(np.corrcoef(heard, wanted)[0, 1])
