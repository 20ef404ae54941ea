"""gRPC: live sessions, documents, health and reflection."""
