"""Voice activity with Silero (faster-whisper carries it), in blocks: memory does not grow with the audio."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from steno_runtime.stt.chunks import FRAME, Span, speech_spans

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

CONTEXT = 64
"""Samples of the frame before that the model sees with each frame."""
BLOCK_FRAMES = 2048
"""Frames given to the model at once (about 65 s, a few MB); its state is carried from block to block."""


def detect(samples: Samples, on_block: Callable[[int], None]) -> list[Span]:
    """Finds speech.

    Args:
        samples: float32 mono at 16 kHz.
        on_block: called with the number of samples done after each block; may raise to stop.

    Returns:
        Sorted spans of speech that do not overlap.
    """
    import numpy as np
    from faster_whisper.vad import get_vad_model

    session = get_vad_model().session
    hidden, cell = (np.zeros((1, 1, 128), np.float32) for _ in range(2))
    context = np.zeros(CONTEXT, np.float32)
    probabilities: list[float] = []
    step = BLOCK_FRAMES * FRAME
    for begin in range(0, len(samples), step):
        block = samples[begin : begin + step]
        frames = -(-len(block) // FRAME)
        padded = np.zeros(CONTEXT + frames * FRAME, np.float32)
        padded[:CONTEXT] = context
        padded[CONTEXT : CONTEXT + len(block)] = block
        windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
        output, hidden, cell = session.run(None, {"input": np.ascontiguousarray(windows), "h": hidden, "c": cell})
        context = padded[-CONTEXT:]
        probabilities.extend(np.asarray(output).ravel().tolist())
        on_block(min(len(samples), begin + step))
    return speech_spans(probabilities, len(samples))
