"""The inputs of the e2e tests: real speech in every format, long files, and files that are broken in known ways."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import av
import numpy as np

KOREAN = "안녕하세요. 오늘 회의를 시작하겠습니다. 첫 번째 안건은 다음 달 일정입니다."


def sample(suffix: str) -> Path:
    """pyannote's two-speaker telephone sample (`.wav`), its transcript (`.stm`) and speaker turns (`.rttm`)."""
    spec = importlib.util.find_spec("pyannote.audio")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "sample" / f"sample{suffix}"


def transcode(source: Path, target: Path, codec: str, rate: int) -> Path:
    """Encodes the audio of `source` into `target`'s container."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        out = writer.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=out.format, layout="mono", rate=rate, frame_size=out.frame_size or None)
        frames = [piece for frame in reader.decode(audio=0) for piece in resampler.resample(frame)]
        for frame in [*frames, *resampler.resample(None), None]:
            writer.mux(out.encode(frame))
    return target


def silent_film(target: Path) -> Path:
    """A second of MP4 video without audio."""
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(10):
            picture = np.full((64, 64, 3), number * 20, np.uint8)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        writer.mux(stream.encode(None))
    return target


def joined(source: Path, target: Path, seconds: float) -> Path:
    """A WAV that repeats `source` until it lasts `seconds`."""
    with av.open(str(source)) as reader:
        rate = reader.streams.audio[0].rate
        once = np.concatenate([frame.to_ndarray().ravel() for frame in reader.decode(audio=0)])
    many = np.tile(once, int(seconds * rate / once.size) + 1)[: int(seconds * rate)].astype(np.int16)
    with av.open(str(target), "w") as writer:
        stream = writer.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start in range(0, many.size, rate):
            frame = av.AudioFrame.from_ndarray(many[None, start : start + rate], format="s16", layout="mono")
            frame.rate, frame.pts = rate, start
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    return target


def korean(target: Path) -> Path:
    """`KOREAN`, spoken by espeak-ng."""
    subprocess.run(["espeak-ng", "-v", "ko", "-s", "130", "-w", str(target), KOREAN], check=True)
    return target


def make(folder: Path) -> dict[str, Path]:
    """Every input by its key in the sources' bucket."""
    wav = sample(".wav")
    corrupt, empty, text = folder / "corrupt.mp3", folder / "empty.wav", folder / "text.wav"
    files = {
        "sample.wav": wav,
        "sample.mp3": transcode(wav, folder / "sample.mp3", "libmp3lame", 16000),
        "sample.m4a": transcode(wav, folder / "sample.m4a", "aac", 16000),
        "sample.webm": transcode(wav, folder / "sample.webm", "libopus", 48000),
        "korean.wav": korean(folder / "korean.wav"),
        "minutes-3.wav": joined(wav, folder / "minutes-3.wav", 180),
        "minutes-20.wav": joined(wav, folder / "minutes-20.wav", 1200),
        "film.mp4": silent_film(folder / "film.mp4"),
    }
    corrupt.write_bytes(np.random.default_rng(7).bytes(200_000))
    empty.write_bytes(b"")
    text.write_text("This is no sound at all.\n" * 200)
    return files | {"corrupt.mp3": corrupt, "empty.wav": empty, "text.wav": text}
