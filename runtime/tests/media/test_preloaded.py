"""The sandbox imports what recordings need before it forks: each child would do so again, which takes longer than a
short recording."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

READ = """
import importlib, json, sys
from pathlib import Path
from steno_runtime.media.sandboxed import MODULES
for name in MODULES:
    importlib.import_module(name)
before = set(sys.modules)
from steno_runtime.media.channels import read_recording
from steno_runtime.media.tracks import Selection
for path in sys.argv[1:]:
    for split in (False, True):
        read_recording(Path(path), check=lambda: None, selection=Selection(split=split))
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "flac", "ogg", "webm", "mp4"])
def test_reading_a_recording_imports_nothing(media, extension):
    done = subprocess.run(
        [sys.executable, "-c", READ, str(media[extension])], check=True, stdout=subprocess.PIPE, text=True
    )
    assert json.loads(done.stdout) == []
