"""Storage: sources are fetched to a local file, results are published to a directory of write-once objects.

`fetch` and `open_output` hide whether that is S3, a web server or a mounted volume; both raise `WorkError`.
"""

from __future__ import annotations

from steno_runtime.storage.open import open_output
from steno_runtime.storage.output import OutputDirectory
from steno_runtime.storage.source import fetch

__all__ = ["OutputDirectory", "fetch", "open_output"]
