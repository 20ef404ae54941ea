"""Write the Python and Go code of `proto/`, and its reference; `--check` only says whether they are up to date."""

from __future__ import annotations

import os
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from hack import grpc_reference, tools
from hack.paths import ROOT

PROTO = ROOT / "proto"
PYTHON = ROOT / "api/src/steno_api/pb"
PACKAGE = "steno_api.pb.steno.v1"
GO = ROOT / "workers/go/internal/pb/stenov1"
GO_MODULE = "steno.dev/workers"
GO_PACKAGE = f"{GO_MODULE}/internal/pb/stenov1"
REFERENCE = ROOT / "docs/grpc.md"


def compile_protos(*options: str) -> None:
    """Run protoc over all of `proto/`.

    Raises:
        SystemExit: it failed, and has said why.
    """
    well_known = str(files("grpc_tools") / "_proto")
    if code := protoc.main(["protoc", f"-I{PROTO}", f"-I{well_known}", *options, *sources()]):
        raise SystemExit(code)


def sources() -> list[str]:
    """Return the files of `proto/`, relative to it."""
    return sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))


def python_code(folder: Path) -> dict[Path, bytes]:
    """Generate the Python code; return each file's bytes."""
    compile_protos(f"--python_out={folder}", f"--pyi_out={folder}", f"--grpc_python_out={folder}")
    # protoc imports by the proto package's name; ours is in our own package.
    made = {
        PYTHON / path.relative_to(folder): path.read_text()
        .replace("from steno.v1 import", f"from {PACKAGE} import")
        .encode()
        for path in sorted(folder.rglob("*.py*"))
        if path.is_file()
    }
    for package in ("", "steno", "steno/v1"):
        made[PYTHON / package / "__init__.py"] = b'"""Generated from proto/ by `python -m hack.protos`."""\n'
    return made


def go_code(folder: Path) -> dict[Path, bytes]:
    """Generate the Go code; return each file's bytes."""
    # The files of proto/ name no Go package: that is the concern of whoever generates.
    packages = [f"M{source}={GO_PACKAGE}" for source in sources()]
    options = ",".join([f"module={GO_MODULE}", *packages])
    plugins = [f"--plugin={tools.path(name)}" for name in ("protoc-gen-go", "protoc-gen-go-grpc")]
    compile_protos(
        *plugins, f"--go_out={folder}", f"--go_opt={options}", f"--go-grpc_out={folder}", f"--go-grpc_opt={options}"
    )
    return {GO / path.name: path.read_bytes() for path in folder.rglob("*.go")}


def documentation(folder: Path) -> dict[Path, bytes]:
    """Generate the reference; return its bytes."""
    found = folder / "descriptors"
    compile_protos(f"--descriptor_set_out={found}", "--include_source_info")
    descriptors = FileDescriptorSet.FromString(found.read_bytes())
    return {REFERENCE: grpc_reference.reference(descriptors, reversed(sources())).encode()}


def main() -> int:
    """Entry point; the exit code is 1 when `--check` finds a difference."""
    made: dict[Path, bytes] = {}
    for generate in (python_code, go_code, documentation):
        with tempfile.TemporaryDirectory() as folder:
            made |= generate(Path(folder))
    existing = {
        path: path.read_bytes()
        for target, pattern in ((PYTHON, "*.py*"), (GO, "*.go"), (REFERENCE.parent, REFERENCE.name))
        for path in target.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    if "--check" in sys.argv[1:]:
        stale = [path for path in made.keys() | existing.keys() if made.get(path) != existing.get(path)]
        if stale:
            names = ", ".join(sorted(os.path.relpath(path, ROOT) for path in stale))
            print(f"not up to date: {names}. Run: python -m hack.protos", file=sys.stderr)
        return 1 if stale else 0
    for path in existing.keys() - made.keys():
        path.unlink()
    for path, data in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
