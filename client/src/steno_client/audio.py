"""Audio input: 16-bit PCM from a recording, sent at the pace of a microphone, or from standard input."""

from __future__ import annotations

import asyncio
import sys
from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steno_api.documents.warnings import ResultWarning
from steno_client.errors import EXIT_INPUT, EXIT_UNAVAILABLE, THE_RUNTIME, CommandError
from steno_client.wav import EmptyWavError, WavError, read_pcm

SAMPLE_RATE = 16_000
RATES = range(8_000, 48_001)
"""Sample rates that a session accepts, in Hz."""
CHUNK_SECONDS = 0.1
_NEEDS = f"convert it (ffmpeg -i FILE -ar 16000 -ac 1 -c:a pcm_s16le speech.wav), or install {THE_RUNTIME}"


@dataclass(frozen=True)
class Recording:
    """A whole recording: signed 16-bit little-endian samples, one channel."""

    pcm: bytes
    sample_rate: int
    warnings: Sequence[ResultWarning] = ()
    """What of it was lost, changed or guessed."""

    @property
    def seconds(self) -> float:
        """Return its length in seconds."""
        return len(self.pcm) / 2 / self.sample_rate

    def chunks(self) -> Iterator[bytes]:
        """Yield chunks of `CHUNK_SECONDS`; the last one may be shorter."""
        size = int(self.sample_rate * CHUNK_SECONDS) * 2
        for start in range(0, len(self.pcm), size):
            yield self.pcm[start : start + size]


def read_recording(path: Path) -> Recording:
    """Read a recording: any format that FFmpeg reads if the runtime is installed, otherwise 16-bit WAV.

    Raises:
        CommandError: the recording cannot be read.
    """
    try:
        from steno_runtime.errors import WorkError  # noqa: PLC0415 - need not be installed
        from steno_runtime.media.audio import read_audio  # noqa: PLC0415
    except ModuleNotFoundError:
        return read_wav(path)
    found: list[ResultWarning] = []
    try:
        samples = read_audio(path, check=lambda: None, on_warning=found.append)
    except ModuleNotFoundError:  # PyAV or NumPy
        return read_wav(path)
    except WorkError as error:
        raise CommandError(error.message, EXIT_INPUT) from error
    return Recording((samples.clip(-1, 1) * 32767).astype("<i2").tobytes(), SAMPLE_RATE, tuple(found))


def read_wav(path: Path) -> Recording:
    """Read a WAV file of 16-bit PCM; several channels are mixed down to one.

    Raises:
        CommandError: the file has another format.
    """
    try:
        with path.open("rb") as file:
            fmt, data = read_pcm(file)
    except EmptyWavError as error:
        raise CommandError(f"{path} {error}: check the recorder", EXIT_INPUT) from error
    except WavError as error:
        raise CommandError(f"{path} {error}: {_NEEDS}", EXIT_UNAVAILABLE) from error
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", EXIT_INPUT) from error
    if fmt.bits != 16 or fmt.rate not in RATES:
        raise CommandError(f"{path} has {fmt.bits}-bit samples at {fmt.rate} Hz: {_NEEDS}", EXIT_UNAVAILABLE)
    return Recording(mix_to_mono(data, fmt.channels), fmt.rate)


def mix_to_mono(data: bytes, channels: int) -> bytes:
    """Return the mean of interleaved channels as 16-bit little-endian samples."""
    if channels == 1:
        return data[: len(data) // 2 * 2]
    samples = array("h", data[: len(data) // (2 * channels) * 2 * channels])
    if sys.byteorder == "big":
        samples.byteswap()
    mono = array("h", (sum(samples[at : at + channels]) // channels for at in range(0, len(samples), channels)))
    if sys.byteorder == "big":
        mono.byteswap()
    return mono.tobytes()


async def read_paced(recording: Recording, speed: float) -> AsyncIterator[bytes]:
    """Yield the chunks of a recording as a microphone would, `speed` times as fast; drift does not accumulate."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number, chunk in enumerate(recording.chunks(), 1):
        # A chunk exists only after it was spoken, so the first one is due after CHUNK_SECONDS.
        await asyncio.sleep(started + number * CHUNK_SECONDS / speed - loop.time())
        yield chunk


async def read_standard_input(sample_rate: int) -> AsyncIterator[bytes]:
    """Yield what a recorder pipes in, as it arrives, in whole samples.

    Raises:
        CommandError: standard input is not a pipe.
    """
    reader = asyncio.StreamReader(limit=int(sample_rate * CHUNK_SECONDS) * 2)
    try:
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
        )
    except (ValueError, OSError) as error:
        raise CommandError(
            "standard input is not a pipe: give the FILE itself, or pipe a recorder into this command", EXIT_INPUT
        ) from error
    remainder = b""
    while data := await reader.read(int(sample_rate * CHUNK_SECONDS) * 2):
        data = remainder + data
        whole = len(data) // 2 * 2
        remainder = data[whole:]
        if whole:
            yield data[:whole]
