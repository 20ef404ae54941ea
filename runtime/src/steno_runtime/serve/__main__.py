"""`python -m steno_runtime.serve` is `steno-server`."""

from __future__ import annotations

from steno_runtime.serve.main import main

if __name__ == "__main__":
    main()
