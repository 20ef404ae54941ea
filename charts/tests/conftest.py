"""Fixtures of the chart's tests."""

from hack.testing.fixtures import *  # noqa: F403
