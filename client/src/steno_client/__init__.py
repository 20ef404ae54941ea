"""Steno client."""
