"""Tests (a package, so that pytest does not name these modules after the standard library's `operator`)."""
