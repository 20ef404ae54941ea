"""Degradations of recordings and pages by rule, as augmentation libraries make them: one name, one fixed change.

Every change is made from the item's own samples or pixels and a fixed seed, so that two runs hear and see the same.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter
from scipy.signal import butter, fftconvolve, sosfilt

RATE = 16_000
Audio = npt.NDArray[np.float32]
"""Float32 in [-1, 1], mono, 16 kHz; shape `(samples,)`."""


def _gain(decibels: float) -> Callable[[Audio], Audio]:
    # As a 16-bit file would hold it: what is too loud is clipped, what is too quiet loses its lowest bits.
    return lambda audio: (np.clip(audio * 10 ** (decibels / 20), -1, 1) * 32767).round().astype(np.float32) / 32768


def _noise(ratio: float) -> Callable[[Audio], Audio]:
    def add(audio: Audio) -> Audio:
        power = float(np.mean(np.square(audio), dtype=np.float64)) / 10 ** (ratio / 10)
        noise = np.random.default_rng(0).standard_normal(len(audio)) * np.sqrt(power)
        return np.clip(audio + noise, -1, 1).astype(np.float32)

    return add


def _coded(codec: str, container: str, rate: int, bit_rate: int | None = None) -> Callable[[Audio], Audio]:
    def code(audio: Audio) -> Audio:
        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream: Any = out.add_stream(codec, rate=rate, layout="mono")
            if bit_rate:
                stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(audio[None], "fltp", "mono")
            frame.sample_rate = RATE
            resampler = av.AudioResampler(stream.format, "mono", rate)
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                part.pts = None
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file) as source:
            resampler = av.AudioResampler("fltp", "mono", RATE)
            frames = [*source.decode(audio=0), None]
            return np.concatenate([part.to_ndarray()[0] for one in frames for part in resampler.resample(one)])

    return code


def _telephone(audio: Audio) -> Audio:
    band = butter(4, (300, 3400), "bandpass", fs=RATE, output="sos")
    return np.asarray(sosfilt(band, audio), np.float32)


def _reverberate(audio: Audio) -> Audio:
    """A room whose sound takes 0.6 s to fall by 60 dB, with the voice as loud as the room."""
    generator = np.random.default_rng(0)
    times = np.arange(int(0.6 * RATE)) / RATE
    room = generator.standard_normal(len(times)) * 10 ** (-3 * times / 0.6)
    room *= 1 / np.sqrt(np.sum(np.square(room)))
    room[0] += 1
    wet = fftconvolve(audio, room)[: len(audio)]
    return (wet * np.max(np.abs(audio)) / max(1e-9, np.max(np.abs(wet)))).astype(np.float32)


def _clip(audio: Audio) -> Audio:
    """The loudest tenth of the samples is cut off."""
    top = float(np.quantile(np.abs(audio), 0.9)) or 1.0
    return (np.clip(audio, -top, top) / top).astype(np.float32)


def _faster(audio: Audio) -> Audio:
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=RATE, format="fltp", layout="mono", time_base="1/16000")  # type: ignore[arg-type]
    tempo, sink = graph.add("atempo", "1.25"), graph.add("abuffersink")
    source.link_to(tempo)
    tempo.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(audio[None], "fltp", "mono")
    frame.sample_rate = RATE
    graph.push(frame)
    graph.push(None)
    parts: list[Audio] = []
    while True:
        try:
            parts.append(graph.pull().to_ndarray()[0])
        except (av.EOFError, BlockingIOError):
            return np.concatenate(parts)


AUDIO: Mapping[str, Callable[[Audio], Audio]] = {
    "gain -60 dB": _gain(-60),
    "gain -40 dB": _gain(-40),
    "gain -20 dB": _gain(-20),
    "gain +20 dB": _gain(20),
    "telephone": _telephone,
    "mu-law 8 kHz": _coded("pcm_mulaw", "wav", 8000),
    "MP3 32 kbit/s": _coded("libmp3lame", "mp3", RATE, 32_000),
    "noise 20 dB": _noise(20),
    "noise 10 dB": _noise(10),
    "noise 5 dB": _noise(5),
    "reverberation": _reverberate,
    "clipped": _clip,
    "tempo 1.25": _faster,
}
"""Changes of a recording, by name."""

Page = Image.Image


def _jpeg(quality: int) -> Callable[[Page], Page]:
    def code(page: Page) -> Page:
        file = io.BytesIO()
        page.convert("RGB").save(file, "JPEG", quality=quality)
        return Image.open(io.BytesIO(file.getvalue()))

    return code


def _scaled(dpi: int) -> Callable[[Page], Page]:
    def scale(page: Page) -> Page:
        factor = dpi / _dpi(page)
        size = (max(1, round(page.width * factor)), max(1, round(page.height * factor)))
        scaled = page.resize(size, Image.Resampling.LANCZOS)
        scaled.info["dpi"] = (dpi, dpi)
        return scaled

    return scale


def _dpi(page: Page) -> float:
    """The resolution the file states, where it can be true; else that of an A4 page of this width."""
    stated = float(page.info.get("dpi", (0, 0))[0])
    return stated if 90 <= stated <= 1200 else max(50.0, page.width / 8.27)


def _speckle(page: Page) -> Page:
    pixels = np.asarray(page.convert("L"), np.float32)
    return Image.fromarray(
        np.clip(pixels + np.random.default_rng(0).normal(0, 25, pixels.shape), 0, 255).astype(np.uint8)
    )


def _turned(degrees: float) -> Callable[[Page], Page]:
    return lambda page: page.convert("RGB").rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")


PAGES: Mapping[str, Callable[[Page], Page]] = {
    "blur": lambda page: page.convert("RGB").filter(ImageFilter.GaussianBlur(_dpi(page) / 150)),
    "skew 3 degrees": _turned(3),
    "turned by 90 degrees": _turned(90),
    "turned by 180 degrees": _turned(180),
    "JPEG quality 20": _jpeg(20),
    "noise": _speckle,
    "72 dpi": _scaled(72),
    "100 dpi": _scaled(100),
    "600 dpi": _scaled(600),
}
"""Changes of a page, by name."""
