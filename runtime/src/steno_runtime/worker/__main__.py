"""`python -m steno_runtime.worker`."""

from __future__ import annotations

from steno_runtime.worker.main import main

main()
