"""Sums of counts, as in sclite's reports: each field of the sum is the sum of that field."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self


@dataclass(frozen=True)
class Counts:
    """Figures whose sum over many items has the rates of all of them."""

    def __add__(self, other: Self) -> Self:
        return type(self)(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})
