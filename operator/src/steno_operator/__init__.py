"""Steno operator."""
