"""Settings of hypothesis for properties that `make test-long` tries with many more examples: `@pytest.mark.long`."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

LONG = bool(os.environ.get("STENO_LONG_TESTS"))


def examples(usual: int, long: int) -> settings:
    """Return settings for examples that take milliseconds: that many, or as many as the long run makes."""
    return settings(max_examples=long if LONG else usual, deadline=None)


def slow_examples(usual: int, long: int) -> settings:
    """Return settings for examples that take seconds, such as those of real models.

    The few of `make test` are always the same, the many of `make test-long` are new each time. None is made smaller:
    every further look would cost seconds, too.
    """
    return settings(
        max_examples=long if LONG else usual,
        deadline=None,
        derandomize=not LONG,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        print_blob=LONG,
    )
