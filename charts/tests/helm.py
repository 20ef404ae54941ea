"""Helm, as the tests call it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hack import tools
from hack.paths import ROOT

CHART = ROOT / "charts" / "steno"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def helm(*arguments: str | Path, check: bool = True, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm, its own caches in `home`."""
    environment = {**os.environ, **({"HELM_CACHE_HOME": str(home), "KUBECACHEDIR": str(home)} if home else {})}
    command = [str(tools.path("helm")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert not check or done.returncode == 0, done.stderr
    return done


def render(*arguments: str | Path) -> list[dict[str, Any]]:
    """Every object of the rendered chart, release `steno` in `steno-system`."""
    text = helm("template", "steno", CHART, "--namespace", "steno-system", *arguments).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The objects of a kind."""
    return [each for each in objects if each["kind"] == kind]
