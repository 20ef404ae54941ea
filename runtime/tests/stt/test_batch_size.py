from __future__ import annotations

import sys

import pytest

from steno_runtime.stt.ctranslate import default_batch_size


@pytest.mark.parametrize(("mib", "windows"), [(5_000, 8), (12_000, 16), (24_576, 32), (81_920, 64)])
def test_a_profiles_gpu_memory_decides_without_asking_the_device(monkeypatch, mib, windows):
    monkeypatch.setitem(sys.modules, "torch", None)  # asking the device would import it
    assert default_batch_size("cuda", mib) == windows


def test_a_cpu_has_no_gpu_memory():
    assert default_batch_size("cpu", 81_920) == 8
