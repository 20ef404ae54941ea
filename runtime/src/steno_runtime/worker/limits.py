"""Length limit of recordings: the longest one that fits into a worker's memory.

The samples of a recording are in memory as a whole, beside the models. Separate because it is arithmetic, which is
tested without a recording.
"""

from __future__ import annotations

import math

from steno_api.sizes import format_bytes
from steno_runtime.media.audio import SAMPLE_RATE

BRIEF_SECONDS = 60.0
"""Recordings up to it are brief: the samples of one take 4 MB, and the model a second or two."""

MEMORY_SHARE = 0.5
"""For the samples and what grows with them; the rest is for the models and the decoder."""
MIN_SECONDS = 4 * 3600.0
"""Always accepted, however little memory there is: shorter audio is not what makes a small worker fail."""
BYTES_PER_SECOND = 4 * SAMPLE_RATE
"""float32 at 16 kHz."""
BYTES_PER_SQUARE_SECOND = 3.0
"""Diarization compares every voice with every other. A window begins every 2.5 s, with one and a half voices in the
mean; SciPy keeps the distance of each pair (8 bytes), and copies all of them (measured)."""


def max_seconds(memory: int, *, diarize: bool) -> float:
    """Return the seconds of audio that fit into a worker's memory.

    Args:
        memory: bytes that the worker may use.
        diarize: whether speakers are distinguished.
    """
    room = MEMORY_SHARE * memory
    if diarize:
        # b·s + c·s² = room
        root = math.sqrt(BYTES_PER_SECOND**2 + 4 * BYTES_PER_SQUARE_SECOND * room)
        seconds = (root - BYTES_PER_SECOND) / (2 * BYTES_PER_SQUARE_SECOND)
    else:
        seconds = room / BYTES_PER_SECOND
    return max(MIN_SECONDS, seconds)


def too_long_message(memory: int, *, diarize: bool) -> str:
    """Return the message for the user whose recording is longer than `max_seconds`."""
    hours = math.floor(max_seconds(memory, diarize=diarize) / 360) / 10
    purpose = " with diarization" if diarize else ""
    return (
        f"The audio is longer than the {hours:g} hours that fit into the worker's memory of {format_bytes(memory)}"
        f"{purpose}. Split it, or use a RuntimeProfile with a higher resources.limits.memory."
    )
