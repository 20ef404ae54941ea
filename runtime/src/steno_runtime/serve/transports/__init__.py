"""Protocols at the rim of a server: each turns its own messages into calls of `serve.sessions` and `serve.uploads`."""
