"""How long a recording a worker takes: its samples lie in memory as a whole, beside the models."""

from __future__ import annotations

import math

from steno_runtime.storage.common import human_bytes

SHARE = 0.5
"""Of the memory: for the samples and what grows with them. The rest is the models' and the decoder's."""
LEAST_SECONDS = 4 * 3600.0
"""Taken however little memory there is: shorter audio is not what makes a small worker fail."""
BYTES_PER_SECOND = 4 * 16_000
"""float32 at 16 kHz."""
BYTES_PER_SQUARE_SECOND = 3.0
"""Telling speakers apart compares every voice with every other. A window begins every 2.5 s, with one and a half voices
in the mean; SciPy keeps the distance of each pair (8 bytes), and copies all of them (measured)."""


def longest_seconds(memory: int, *, diarize: bool) -> float:
    """Seconds of audio that a worker has room for.

    Args:
        memory: bytes the worker may use.
        diarize: whether speakers are told apart.
    """
    room = SHARE * memory
    if diarize:
        # b·s + c·s² = room
        root = math.sqrt(BYTES_PER_SECOND**2 + 4 * BYTES_PER_SQUARE_SECOND * room)
        seconds = (root - BYTES_PER_SECOND) / (2 * BYTES_PER_SQUARE_SECOND)
    else:
        seconds = room / BYTES_PER_SECOND
    return max(LEAST_SECONDS, seconds)


def too_long(memory: int, *, diarize: bool) -> str:
    """What to tell the user whose recording is longer."""
    hours = math.floor(longest_seconds(memory, diarize=diarize) / 360) / 10
    purpose = " to be told apart by speakers" if diarize else ""
    return (
        f"The audio is longer than the {hours:g} hours that the worker's memory of {human_bytes(memory)} has room "
        f"for{purpose}. Split it, or use a RuntimeProfile with a higher resources.limits.memory."
    )
