"""Where the programs are that clusters and tests need: on this machine, or made from packages.

`python3 -m hack.tools path NAME` prints where a program is; `… build [GROUP…]` makes groups of them beforehand.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import sys
from pathlib import Path

from hack.airgapped import NODE_VERSION, programs
from hack.steps import CommandError, main, output

_MINOR = int(NODE_VERSION.split(".")[1])
FITTING: dict[str, tuple[tuple[str, ...], str]] = {
    "kind": (("version", "-q"), r"v?0\.(2[7-9]|[3-9]\d)\."),
    "docker-compose": (("version", "--short"), r"v?(2\.[2-9]\d|[5-9])\."),
    "helm": (("version", "--template", "{{.Version}}"), r"v(3\.1[4-9]|3\.[2-9]\d|4)\."),
    "redis-server": (("--version",), r"v=([7-9]|[1-9]\d)\."),
    "kubectl": (("version", "--client", "-o", "yaml"), rf"gitVersion: v1\.({_MINOR - 1}|{_MINOR}|{_MINOR + 1})\."),
}
"""Programs of PATH that are used: how they say their version, and which versions fit."""


@functools.cache
def path(name: str) -> Path:
    """Return a program's path.

    `KUBEBUILDER_ASSETS`, where etcd and kube-apiserver of controller-runtime's envtest are, comes first; then a program
    of PATH that `FITTING` has and whose version fits; then one made from packages, which takes minutes the first time.
    """
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (Path(assets) / name).is_file():
        return Path(assets) / name
    if os.environ.get("STENO_AIRGAPPED", "0") == "0" and (found := _installed(name)):
        return found
    return programs.path(name)


def _installed(name: str) -> Path | None:
    """Return the program of PATH, if this is one that is used and its version fits."""
    found = shutil.which(name) if name in FITTING else None
    if not found:
        return None
    words, pattern = FITTING[name]
    try:
        return Path(found) if re.search(pattern, output([found, *words], timeout=20)) else None
    except CommandError:
        return None


def build(group: str) -> None:
    """Make a group's programs unless all of them are there."""
    for name in programs.programs(group):
        path(name)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m hack.tools", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    builder = commands.add_parser("build", help="build groups (default: all)")
    builder.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(programs.ALL_GROUPS))
    commands.add_parser("path", help="print a program's path").add_argument("name")
    arguments = parser.parse_args()
    if arguments.command == "path":
        print(path(arguments.name))
        return
    for group in arguments.groups or programs.ALL_GROUPS:
        build(group)


if __name__ == "__main__":
    sys.exit(main(_main))
