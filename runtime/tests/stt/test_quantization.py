"""Weights as bytes: quantized such that no CPU cuts off a sum of two products."""

from __future__ import annotations

import platform
import struct

import numpy as np
import pytest

from steno_runtime.stt.ctranslate import CTranslateEngine
from steno_runtime.stt.quantization import byte_sums_overflow, quantize, quantized_files

LARGEST_ACTIVATION = 255
ROWS = {
    "one large weight": [1.0, 0.001, -0.002, 0.0],
    "two large weights side by side": [1.0, 1.0, -0.9, 0.2],
    "two large ones below zero": [0.1, 0.2, -3.0, -2.9],
    "two large ones that take each other away": [1.0, -1.0, 0.5, 0.5],
    "nothing": [0.0, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_two_products_fit_in_16_bits(row):
    quantized, scales = quantize(np.array([row], np.float32))
    pairs = quantized.astype(int).reshape(-1, 2)
    for active in ((LARGEST_ACTIVATION, 0), (0, LARGEST_ACTIVATION), (LARGEST_ACTIVATION, LARGEST_ACTIVATION)):
        assert np.abs(pairs @ np.array(active)).max() < 1 << 15
    assert quantized / scales[:, None] == pytest.approx(np.array([row]), abs=float(0.51 / scales[0]))


def test_many_rows_lose_little(monkeypatch):
    monkeypatch.setattr("steno_runtime.stt.quantization._BLOCK", 1000)  # several blocks, and one that is not full
    weight = np.random.default_rng(0).normal(size=(33, 256)).astype(np.float16)
    quantized, scales = quantize(weight)
    assert np.abs(quantized.astype(int).reshape(33, -1, 2).sum(2)).max() <= 128
    assert np.abs(quantized / scales[:, None] - weight).max() < 0.05  # 3.5 standard deviations in 127 steps, or nearly


@pytest.mark.parametrize(
    ("flags", "overflow"),
    [("fma avx avx2", True), ("avx2 avx512f avx512bw", True), ("avx2 avx512f avx512_vnni", False), ("avx_vnni", False)],
)
def test_only_vnni_adds_products_of_bytes_in_32_bits(tmp_path, monkeypatch, flags, overflow):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbogomips\t: 1\n")
    assert byte_sums_overflow(tmp_path / "cpuinfo") is overflow


def test_other_cpus_are_taken_to_be_good_ones(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("flags\t: fpu avx2\n")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not byte_sums_overflow(tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert not byte_sums_overflow(tmp_path / "missing")


def text(name: str) -> bytes:
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def variable(name: str, kind: int, values: np.ndarray) -> bytes:
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return text(name) + shape + struct.pack("<BI", kind, values.nbytes) + values.tobytes()


def model(
    *variables: bytes, version: int = 6, alias: tuple[str, str] = ("decoder/projection/weight", "a/weight")
) -> bytes:
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    return head + b"".join(variables) + struct.pack("<I", 1) + text(alias[0]) + text(alias[1])


WEIGHT = np.array([[1, 1], [-1, 2]], np.float16)
BIAS = np.array([1, 2], np.float16)


def test_a_models_weights_are_quantized_and_the_rest_is_as_it_was(tmp_path):
    convolution = np.ones((2, 2, 2), np.float16)
    others = variable("a/bias", 4, BIAS), variable("encoder/conv1/weight", 4, convolution)
    (tmp_path / "model.bin").write_bytes(model(variable("a/weight", 4, WEIGHT), *others))
    (tmp_path / "config.json").write_text("{}")
    files = quantized_files(tmp_path)
    assert files is not None
    assert files["config.json"] == b"{}"
    quantized, scales = quantize(WEIGHT)
    written = variable("a/weight", 1, quantized), variable("a/weight_scale", 0, scales)
    expected = model(*written, *others)
    names = text("decoder/projection/weight_scale") + text("a/weight_scale")
    end = expected.rindex(struct.pack("<I", 1) + text("decoder/projection/weight"))
    assert files["model.bin"] == expected[:end] + struct.pack("<I", 2) + expected[end + 4 :] + names


def test_what_is_not_a_model_of_floats_is_left_to_ctranslate(tmp_path):
    assert quantized_files(tmp_path) is None
    whole = model(variable("a/weight", 4, WEIGHT))
    is_int8 = model(variable("a/weight", 1, WEIGHT.astype(np.int8)))
    for content in (b"", whole[:3], whole[:60], whole[:-5], is_int8, model(variable("a/weight", 4, WEIGHT), version=7)):
        (tmp_path / "model.bin").write_bytes(content)
        assert quantized_files(tmp_path) is None


@pytest.mark.slow
def test_int8_hears_what_float32_hears(store, sample):
    """On AVX2, CTranslate2's own quantization has a median error of 0.074."""
    heard = {}
    for compute_type in ("float32", "int8"):
        engine = CTranslateEngine(store / "whisper-base", device="cpu", compute_type=compute_type)
        heard[compute_type] = np.array(engine._encode([sample[: 8 * 16_000]], 1000))[0]
    error = np.linalg.norm(heard["int8"] - heard["float32"], axis=1) / np.linalg.norm(heard["float32"], axis=1)
    assert np.median(error) < 0.055
