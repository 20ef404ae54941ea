"""Voice activity detection with the Silero model that faster-whisper ships.

Audio is taken in blocks and the model's state is carried between them, so memory does not grow with the audio.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steno_runtime.media.audio import SAMPLE_RATE
from steno_runtime.stt.chunks import VAD_FRAME, Span, speech_spans

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from steno_runtime.stt.engine import Samples

CONTEXT = 64
"""Samples of the previous frame that the model sees with each frame."""
BLOCK_FRAMES = 2048
"""Frames per call of the model: about 65 s, a few MB."""
LIVE_LEVEL_DB = -15.0
"""Level that the loudest 0.1 s of late have in live audio: about what whole recordings have at `DETECTION_DB`."""
QUIETEST_DB = -45.0
"""Least level that is amplified in full: what is quieter is background."""
RELEASE_DB = 3.0 * VAD_FRAME / SAMPLE_RATE
"""How much the level that is known falls in a frame without anything as loud: 3 dB a second. In the recording of the
corpus's even half that depends on the level most, 12.2 s of speech are found so 20 dB down instead of none; 18.6 s are
found where the level of all of it is known."""


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


@dataclass(frozen=True)
class LiveVadState:
    """What is known of audio whose end has not come: see `live_speech_probabilities`."""

    vad: VadState = field(default_factory=VadState)
    level: float = LIVE_LEVEL_DB
    """Of its loud parts so far, in dB of full scale."""
    powers: tuple[float, float] = (0.0, 0.0)
    """Of the last two frames."""


def live_speech_probabilities(block: Samples, state: LiveVadState) -> tuple[list[float], LiveVadState]:
    """Return how likely each frame of the next block is speech, however loud a microphone is.

    A level is known at once when it is loud, and by and by when it is quiet; each frame is brought to it with what is
    known until then. See `speech_probabilities` for the rest.

    Args:
        block: as there.
        state: the state after the previous block; `LiveVadState()` for the first.
    """
    import numpy as np

    level, powers = state.level, state.powers
    levelled = np.empty_like(block)
    for begin in range(0, len(block), VAD_FRAME):
        frame = block[begin : begin + VAD_FRAME]
        power = float(np.dot(frame, frame)) / VAD_FRAME
        loud = 10 * math.log10(max(1e-10, (sum(powers) + power) / 3))
        level = max(loud, level - RELEASE_DB, QUIETEST_DB)
        powers = (powers[1], power)
        levelled[begin : begin + VAD_FRAME] = frame * np.float32(10 ** ((LIVE_LEVEL_DB - level) / 20))
    found, vad = speech_probabilities(np.clip(levelled, -1.0, 1.0), state.vad)
    return found, LiveVadState(vad, level, powers)


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
