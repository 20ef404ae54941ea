"""Quantization of Whisper's weights to int8 such that the byte multiplication of AVX2 does not overflow.

On x86 without VNNI, oneDNN, which CTranslate2 calls, multiplies bytes with `vpmaddubsw`: it adds two products in 16
bits and cuts off what is larger. Activations are up to 255, and CTranslate2 scales each row of a weight to 127, so that
two large weights side by side overflow. Here a row is scaled such that no two weights that are added exceed 128.
"""

from __future__ import annotations

import io
import platform
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

CPU_INFO = Path("/proc/cpuinfo")
MODEL = "model.bin"
BINARY_VERSION = 6
"""Of CTranslate2's model format; others are left to CTranslate2."""

_FLOATS = {0: "<f4", 4: "<f2"}
"""Types of variables that can be quantized, by their number in the format."""
_FLOAT32, _INT8 = 0, 1
_LIMIT = 127
"""Of two weights before they are rounded, which may add 1: 128 times 255 fits in 16 bits, 129 times 255 does not."""
_BLOCK = 1 << 20
"""Weights that are quantized at a time."""


def byte_sums_overflow(cpu_info: Path = CPU_INFO) -> bool:
    """Return whether this CPU adds products of bytes in 16 bits: x86 without VNNI.

    Args:
        cpu_info: what Linux says of it; a CPU that it says nothing of is taken to be a good one.
    """
    if platform.machine() != "x86_64":
        return False
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags: set[str] = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    return bool(flags) and flags.isdisjoint(("avx512_vnni", "avx_vnni"))


def quantize(weight: npt.NDArray[np.floating[Any]]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Quantize each row of a matrix such that two neighbours (2n, 2n + 1) add up to no more than 128.

    Args:
        weight: with an even number of columns.

    Returns:
        The quantized weights, and of each row what it was multiplied by.
    """
    import numpy as np

    rows, columns = weight.shape
    quantized, scales = np.empty((rows, columns), np.int8), np.empty(rows, np.float32)
    step = max(1, _BLOCK // columns)
    for first in range(0, rows, step):
        block = weight[first : first + step].astype(np.float32)
        peaks = np.maximum(np.abs(block).max(1), np.abs(block[:, ::2] + block[:, 1::2]).max(1))
        scale = _LIMIT / np.where(peaks > 0, peaks, _LIMIT)
        block *= scale[:, None]
        quantized[first : first + step] = np.rint(block, out=block)
        scales[first : first + step] = scale
    return quantized, scales


def quantized_files(folder: Path) -> dict[str, bytes] | None:
    """Return the files of a model with quantized weights, for CTranslate2 to load from memory.

    Args:
        folder: of a CTranslate2 model.

    Returns:
        The content of each file; None if the model is not one of floats in the format that is known here, or cannot be
        read: CTranslate2 then loads it by itself, or says what is wrong with it.
    """
    try:
        with (folder / MODEL).open("rb") as file:
            model = _quantized(file)
        small = {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix in (".json", ".txt")}
    except (OSError, ValueError, struct.error):
        return None
    return None if model is None else {**small, MODEL: model}


def _quantized(source: BinaryIO) -> bytes | None:
    """Return a model file with its weights quantized; None if it has none, or another format."""
    import numpy as np

    (version,) = _read(source, "I")
    if version != BINARY_VERSION:
        return None
    target = io.BytesIO()
    target.write(struct.pack("<I", version))
    _write_text(target, _read_text(source))
    target.write(struct.pack("<I", *_read(source, "I")))  # the revision
    (count,) = _read(source, "I")
    place = target.tell()
    target.write(struct.pack("<I", count))
    scaled: set[str] = set()
    for _ in range(count):
        name = _read_text(source)
        (rank,) = _read(source, "B")
        shape = _read(source, f"{rank}I")
        kind, size = _read(source, "BI")
        data = _take(source, size)
        if _is_weight(name, shape) and kind in _FLOATS:
            weight, scales = quantize(np.frombuffer(data, _FLOATS[kind]).reshape(shape))
            _write_variable(target, name, shape, _INT8, weight)
            _write_variable(target, _scale_of(name), shape[:1], _FLOAT32, scales)
            scaled.add(name)
        else:
            _write_variable(target, name, shape, kind, data)
    if not scaled:
        return None
    aliases = [(_read_text(source), _read_text(source)) for _ in range(*_read(source, "I"))]
    aliases += [(_scale_of(alias), _scale_of(name)) for alias, name in aliases if name in scaled]
    target.write(struct.pack("<I", len(aliases)))
    for alias, name in aliases:
        _write_text(target, alias)
        _write_text(target, name)
    target.seek(place)
    target.write(struct.pack("<I", count + len(scaled)))
    return target.getvalue()


def _is_weight(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether CTranslate2 would quantize a variable of Whisper; of matrices, those of whole pairs."""
    return name.endswith("weight") and "conv" not in name and len(shape) == 2 and shape[1] % 2 == 0


def _scale_of(name: str) -> str:
    return f"{name}_scale"


def _take(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) < size:
        raise ValueError("the file ends before its content")
    return data


def _read(source: BinaryIO, layout: str) -> tuple[int, ...]:
    layout = f"<{layout}"
    return struct.unpack(layout, _take(source, struct.calcsize(layout)))


def _read_text(source: BinaryIO) -> str:
    (size,) = _read(source, "H")
    return _take(source, size).rstrip(b"\0").decode()


def _write_text(target: BinaryIO, text: str) -> None:
    data = text.encode() + b"\0"
    target.write(struct.pack("<H", len(data)) + data)


def _write_variable(target: BinaryIO, name: str, shape: tuple[int, ...], kind: int, data: Any) -> None:
    data = memoryview(data).cast("B")
    _write_text(target, name)
    target.write(struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, kind, data.nbytes))
    target.write(data)
