"""Storage: where sources are read from and results are published to.

`fetch` brings a source to a local file; `open_output` opens the directory that results go to. Both hide whether that
is S3, a web server or a mounted volume, and both speak in `WorkError`s.
"""

from __future__ import annotations

from steno_runtime.storage.output import Output, open_output
from steno_runtime.storage.source import fetch

__all__ = ["Output", "fetch", "open_output"]
