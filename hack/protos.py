"""Write the Python code of `proto/`; `--check` only says whether it is up to date."""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

from hack.paths import ROOT

PROTO = ROOT / "proto"
TARGET = ROOT / "runtime/src/steno_runtime/serve/transports/grpc/pb"
PACKAGE = "steno_runtime.serve.transports.grpc.pb.steno.v1"


def generate(target: Path) -> dict[str, bytes]:
    """Generate into `target`; return each file's bytes by its path below it."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    code = protoc.main(
        ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={target}", f"--pyi_out={target}",
         f"--grpc_python_out={target}", *sources]
    )  # fmt: skip
    if code != 0:
        raise SystemExit(code)
    # protoc imports by the proto package's name; ours is in our own package.
    made = {
        str(path.relative_to(target)): path.read_text()
        .replace("from steno.v1 import", f"from {PACKAGE} import")
        .encode()
        for path in sorted(target.rglob("*.py*"))
        if path.is_file()
    }
    for folder in ("", "steno/", "steno/v1/"):
        made[f"{folder}__init__.py"] = b'"""Generated from proto/ by `python -m hack.protos`."""\n'
    return made


def main() -> int:
    """Entry point; the exit code is 1 when `--check` finds a difference."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
    existing = {
        str(path.relative_to(TARGET)): path.read_bytes()
        for path in TARGET.rglob("*.py*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if "--check" in sys.argv[1:]:
        stale = sorted(name for name in made.keys() | existing.keys() if made.get(name) != existing.get(name))
        if stale:
            print(f"not up to date: {', '.join(stale)}. Run: python -m hack.protos", file=sys.stderr)
        return 1 if stale else 0
    for name in existing.keys() - made.keys():
        (TARGET / name).unlink()
    for name, data in made.items():
        path = TARGET / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
