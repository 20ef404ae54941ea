"""Figures of a server under load, beside the targets of the platform that Steno continues."""
