"""Logging set-up: JSON lines on stderr in the schema of `steno_api.json_logs`; never tokens or transcript text.

Separate because the format of logs is no business of the process that writes them.
"""

from __future__ import annotations

import logging
import sys

from steno_api.json_logs import JsonFormatter


def set_up(level: str) -> None:
    """Send every log of the process to stderr; of kopf's own only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)


def flush() -> None:
    """Write out what is buffered, before an exit that skips everything else."""
    for handler in logging.getLogger().handlers:
        handler.flush()
