"""Fixtures of the attacks."""

from __future__ import annotations

from runtime.tests.conftest import sample_wav

__all__ = ["sample_wav"]
