"""`python -m steno_runtime.models NAME…`: `steno models download` of the runtime image.

Separate because it is what Python runs of the package.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from steno_api.failures import EXIT_CODES
from steno_runtime.errors import WorkError
from steno_runtime.models.download import REPOS, download


def main() -> int:
    """Download the models that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m steno_runtime.models", description="Download models to a store.")
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(REPOS))
    default = Path(os.environ.get("STENO_MODEL_STORE") or "/models")
    parser.add_argument("--model-store", type=Path, metavar="DIR", default=default, help="default: %(default)s")
    arguments = parser.parse_args()
    for name in arguments.names:
        try:
            print(download(arguments.model_store, name))
        except WorkError as error:
            print(error.message, file=sys.stderr)
            return EXIT_CODES[error.reason.failure_class]
    return 0


if __name__ == "__main__":
    sys.exit(main())
