"""Protocols: one module each, thin, over the same services."""
