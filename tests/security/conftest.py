"""Fixtures of the attacks."""

from __future__ import annotations

from runtime.tests.conftest import media, sample_wav

__all__ = ["media", "sample_wav"]
