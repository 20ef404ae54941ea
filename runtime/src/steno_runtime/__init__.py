"""Steno runtime."""
