"""Fixtures of the chart's tests."""

from tests.support.fixtures import *  # noqa: F403
