"""Voice activity with Silero (faster-whisper carries it), in blocks: memory does not grow with the audio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steno_runtime.stt.chunks import FRAME, Span, speech_spans

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from steno_runtime.stt.engine import Samples

CONTEXT = 64
"""Samples of the frame before that the model sees with each frame."""
BLOCK_FRAMES = 2048
"""Frames given to the model at once (about 65 s, a few MB); its state is carried from block to block."""


def _zeros(*shape: int) -> Any:
    import numpy as np

    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class VoiceState:
    """What the model remembers of the audio before."""

    hidden: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(1, 1, 128))
    cell: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(1, 1, 128))
    context: npt.NDArray[np.float32] = field(default_factory=lambda: _zeros(CONTEXT))


def listen(block: Samples, state: VoiceState) -> tuple[list[float], VoiceState]:
    """Says how likely each frame of the next block is speech. However audio is cut into blocks, it says the same.

    Args:
        block: float32 mono at 16 kHz; whole frames of 512 samples, except at the audio's end.
        state: after the block before; `VoiceState()` in front of the first.

    Returns:
        One probability per frame, and the state after it. The model is shared: it may be called from many threads.
    """
    import numpy as np
    from faster_whisper.vad import get_vad_model

    frames = -(-len(block) // FRAME)
    padded = np.zeros(CONTEXT + frames * FRAME, np.float32)
    padded[:CONTEXT] = state.context
    padded[CONTEXT : CONTEXT + len(block)] = block
    windows = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]
    found: Any = get_vad_model().session.run(
        None, {"input": np.ascontiguousarray(windows), "h": state.hidden, "c": state.cell}
    )
    output, hidden, cell = found
    return np.asarray(output).ravel().tolist(), VoiceState(hidden, cell, padded[-CONTEXT:].copy())


def detect(samples: Samples, on_block: Callable[[int], None]) -> list[Span]:
    """Finds speech.

    Args:
        samples: float32 mono at 16 kHz.
        on_block: called with the number of samples done after each block; may raise to stop.

    Returns:
        Sorted spans of speech that do not overlap.
    """
    state = VoiceState()
    probabilities: list[float] = []
    step = BLOCK_FRAMES * FRAME
    for begin in range(0, len(samples), step):
        found, state = listen(samples[begin : begin + step], state)
        probabilities.extend(found)
        on_block(min(len(samples), begin + step))
    return speech_spans(probabilities, len(samples))
