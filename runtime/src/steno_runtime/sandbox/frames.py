"""Length-prefixed frames between a sandboxed process and its parent: requests are pickled, answers never are.

What the parent sends, it trusts itself. What comes back is JSON, and arrays whose type and size the parent checks
before it makes room for them.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Kind = Literal["ready", "event", "result", "failed", "raised"]
"""Of an answer: the process is there; something while it works; the call's result; a `WorkError`; another exception."""

HEADER = struct.Struct("!I")
DTYPES = ("float32", "uint8")
_PIECE = 1 << 20
_RELEASED = 64
"""Pieces after which the memory of what was sent is given back."""
_MADV_DONTNEED = 4
_MAX_DIMENSIONS = 3
_MAY_BE_INFINITE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{300}")
"""A number beyond the largest float has either; so may the text of a page."""


class ProtocolFault(Exception):  # noqa: N818 - what the other side did, which is reported as another error
    """The other side said what it must not say."""


@dataclass(frozen=True)
class Reply:
    """The result of a call.

    Attributes:
        value: anything that JSON can say.
        arrays: of `DTYPES`; those that a child returns are not to be used any more.
        size: bytes of the JSON that came.
    """

    value: Any = None
    arrays: Sequence[np.ndarray] = ()
    size: int = 0


@dataclass(frozen=True)
class Answer:
    """A frame from the child."""

    kind: Kind
    value: Any = None
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    size: int = 0


def send(sock: socket.socket, kind: Kind, reply: Reply) -> None:
    """Send an answer, as the child."""
    arrays = [{"dtype": array.dtype.name, "shape": list(array.shape)} for array in reply.arrays]
    data = json.dumps({"kind": kind, "value": reply.value, "arrays": arrays}).encode()
    sock.sendall(HEADER.pack(len(data)) + data)
    for array in reply.arrays:
        _send_array(sock, array)


def _send_array(sock: socket.socket, array: np.ndarray) -> None:
    """Send the bytes of an array, and give its memory back meanwhile: the parent has it by then."""
    import numpy as np

    whole = np.ascontiguousarray(array)
    view = whole.data.cast("B") if whole.size else memoryview(b"")
    release = _releaser(whole)
    for number, start in enumerate(range(0, len(view), _PIECE), 1):
        sock.sendall(view[start : start + _PIECE])
        if number % _RELEASED == 0:
            release(start + _PIECE)


def _releaser(array: np.ndarray) -> Callable[[int], None]:
    """Return a function that drops the pages that hold nothing but the first bytes of `array`."""
    if not array.flags.owndata:
        return lambda _: None
    page = 4096
    first = -(-array.ctypes.data // page) * page
    madvise = ctypes.CDLL(None).madvise

    def release(count: int) -> None:
        length = (array.ctypes.data + count - first) // page * page
        if length > 0:
            madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), _MADV_DONTNEED)

    return release


def parse(data: bytes, max_array_bytes: int) -> Answer:
    """Return the answer that a child sent.

    Args:
        data: JSON.
        max_array_bytes: of all arrays that follow.

    Raises:
        ProtocolFault: it is none, or announces more.
    """
    try:
        parse_float = _finite if _MAY_BE_INFINITE.search(data) else None  # slow: pages have thousands of numbers
        parsed = json.loads(data, parse_float=parse_float, parse_constant=_finite)
        kind, value = parsed["kind"], parsed["value"]
        shapes = tuple((str(one["dtype"]), tuple(one["shape"])) for one in parsed["arrays"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProtocolFault("an answer that cannot be parsed") from error
    if kind not in ("ready", "event", "result", "failed", "raised"):
        raise ProtocolFault("an answer of an unknown kind")
    total = 0
    for dtype, shape in shapes:
        whole = all(type(side) is int and side >= 0 for side in shape)
        if dtype not in DTYPES or not whole or not 1 <= len(shape) <= _MAX_DIMENSIONS:
            raise ProtocolFault("an array of an unknown kind")
        total += math.prod(shape) * (4 if dtype == "float32" else 1)
    if total > (max_array_bytes if kind == "result" else 0):
        raise ProtocolFault("arrays that are too large")
    return Answer(kind, value, shapes, len(data))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number
