"""The Steno command line."""
