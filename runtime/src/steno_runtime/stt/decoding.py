"""Thread pool that feeds an engine's workers with batches of equal windows, side by side.

Two workers of one thread decode up to twice as much on two cores as one worker of two threads: much of a decoder's step
is too small to be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from steno_runtime.errors import Check
from steno_runtime.stt.chunks import Chunk, batches
from steno_runtime.stt.engine import AutoLanguage, Decoded, DecodeProfile, Engine

if TYPE_CHECKING:
    from steno_runtime.stt.engine import Samples

CHECK_SECONDS = 1.0
"""How long a decoding batch keeps the caller from being stopped."""


def decode_chunks(
    samples: Samples,
    chunks: Sequence[Chunk],
    languages: Sequence[str | AutoLanguage],
    engine: Engine,
    *,
    check: Check,
    profile: DecodeProfile | Sequence[DecodeProfile] = DecodeProfile.BEAM_WITH_FALLBACK,
    on_decoded: Callable[[Sequence[int]], None] = lambda _: None,
) -> list[Decoded]:
    """Decode chunks of audio in batches, as many at a time as the engine has workers.

    Args:
        samples: float32, mono, 16 kHz.
        chunks: of the samples, with windows of up to 27 s.
        languages: of each chunk: an ISO 639 code, or from what to choose it.
        engine: decodes; called from `engine.workers` threads.
        check: called in this thread about every second; may raise to stop, after the batches that are under way.
        profile: how much effort the text is worth: that of all chunks, or that of each.
        on_decoded: called in this thread with the indexes of the chunks that were just decoded.

    Returns:
        One result per chunk, in order; times are those of its window.

    Raises:
        WorkError: as the engine's.
    """
    profiles = [profile] * len(chunks) if isinstance(profile, DecodeProfile) else profile
    frames = [one.window_frames(chunk.window_samples) for one, chunk in zip(profiles, chunks, strict=True)]
    decoded: dict[int, Decoded] = {}
    todo = batches(list(zip(frames, languages, profiles, strict=True)), engine.batch_size, engine.workers)
    with ThreadPoolExecutor(engine.workers, thread_name_prefix="decode") as pool:
        under_way: dict[Future[list[Decoded]], Sequence[int]] = {}
        while todo or under_way:
            check()
            while todo and len(under_way) < engine.workers:
                batch = todo.pop(0)
                windows = [window_of(samples, chunks[index]) for index in batch]
                under_way[pool.submit(engine.decode, windows, languages[batch[0]], profiles[batch[0]])] = batch
            for done in wait(under_way, CHECK_SECONDS, FIRST_COMPLETED).done:
                batch = under_way.pop(done)
                decoded.update(zip(batch, done.result(), strict=True))
                on_decoded(batch)
    return [decoded[index] for index in range(len(chunks))]


def profiles_of(chunks: Sequence[Chunk]) -> list[DecodeProfile]:
    """Return how much effort each chunk is worth: a second attempt at music or noise would be dropped as the first."""
    return [DecodeProfile.BEAM_ONCE if chunk.is_doubtful else DecodeProfile.BEAM_WITH_FALLBACK for chunk in chunks]


def window_of(samples: Samples, chunk: Chunk) -> Samples:
    """Return the audio of a chunk's window."""
    import numpy as np

    return np.concatenate([samples[piece.start : piece.end] for piece in chunk.pieces])
