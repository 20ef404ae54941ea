"""Voice activity detection with the Silero model that faster-whisper ships.

Audio is taken in blocks and the model's state is carried between them, so memory does not grow with the audio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steno_runtime.stt.chunks import VAD_FRAME, Span, speech_spans

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from steno_runtime.stt.engine import Samples

CONTEXT = 64
"""Samples of the previous frame that the model sees with each frame."""
BLOCK_FRAMES = 2048
"""Frames per call of the model: about 65 s, a few MB."""


def _zeros(*shape: int) -> Any:
    import numpy as np

    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class VadState:
    """The model's state between two blocks of one audio: LSTM state `(1, 1, 128)`, and the last `CONTEXT` samples."""

    hidden: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(1, 1, 128))
    cell: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(1, 1, 128))
    context: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(CONTEXT))


def speech_probabilities(block: Samples, state: VadState) -> tuple[list[float], VadState]:
    """Return how likely each frame of the next block is speech; the result does not depend on the block size.

    The model is shared and may be called from many threads.

    Args:
        block: float32 mono at 16 kHz; whole frames of 512 samples, except at the end of the audio.
        state: the state after the previous block; `VadState()` for the first.

    Returns:
        One probability per frame, and the state after the block.
    """
    import numpy as np
    from faster_whisper.vad import get_vad_model

    frames = -(-len(block) // VAD_FRAME)
    padded = np.zeros(CONTEXT + frames * VAD_FRAME, np.float32)
    padded[:CONTEXT] = state.context
    padded[CONTEXT : CONTEXT + len(block)] = block
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + VAD_FRAME)[::VAD_FRAME]
    found: Any = get_vad_model().session.run(
        None, {"input": np.ascontiguousarray(windows), "h": state.hidden, "c": state.cell}
    )
    output, hidden, cell = found
    return np.asarray(output).ravel().tolist(), VadState(hidden, cell, padded[-CONTEXT:].copy())


def detect_speech(samples: Samples, on_block: Callable[[int], None]) -> list[Span]:
    """Find speech, however loud it was recorded.

    Args:
        samples: float32 mono at 16 kHz.
        on_block: called after each block with the number of samples processed; may raise to stop.

    Returns:
        Sorted spans of speech that do not overlap.
    """
    import numpy as np

    from steno_runtime.media.level import detection_gain

    gain = np.float32(detection_gain(samples))
    state = VadState()
    probabilities: list[float] = []
    step = BLOCK_FRAMES * VAD_FRAME
    for begin in range(0, len(samples), step):
        block = np.clip(samples[begin : begin + step] * gain, -1.0, 1.0)  # a click would be far beyond
        found, state = speech_probabilities(block, state)
        probabilities.extend(found)
        on_block(min(len(samples), begin + step))
    return speech_spans(probabilities, len(samples))
