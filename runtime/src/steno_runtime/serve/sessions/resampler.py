"""Streaming resampler: a client's sample rate to the engine's, PCM in, PCM out, block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steno_api.server.errors import ApiError, ErrorCode
from steno_runtime.media.audio import SAMPLE_RATE

if TYPE_CHECKING:
    import av

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 48_000


class Resampler:
    """Turns s16le mono PCM of any rate, in pieces of any length, into s16le mono 16 kHz.

    A piece may end in the middle of a sample: its first byte waits for the second.
    """

    def __init__(self, rate: int) -> None:
        """Create a resampler.

        Raises:
            ApiError: `InvalidAudio`: the rate is out of range.
        """
        if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE:
            raise ApiError(
                ErrorCode.INVALID_AUDIO,
                f"sample_rate must be from {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz: 16000 is best.",
            )
        self._rate = rate
        self._odd_byte = b""
        self._resampler = None if rate == SAMPLE_RATE else self._make()

    def convert(self, pcm: bytes) -> bytes:
        """Return the samples that `pcm` completes; may be empty."""
        pcm = self._odd_byte + pcm
        whole = len(pcm) & ~1
        self._odd_byte = pcm[whole:]
        pcm = pcm[:whole]
        if self._resampler is None or not pcm:
            return pcm
        import av
        import numpy as np

        frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, dtype="<i2").reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = self._rate
        return _join(self._resampler, frame)

    def flush(self) -> bytes:
        """Return the few samples that the filter still held; more may be converted after that.

        Half a sample goes on waiting: dropping it would turn all that follows into noise.
        """
        if self._resampler is None:
            return b""
        rest = _join(self._resampler, None)
        self._resampler = self._make()
        return rest

    def _make(self) -> av.AudioResampler:
        import av

        return av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)


def _join(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> bytes:
    return b"".join(block.to_ndarray().tobytes() for block in resampler.resample(frame))
