"""gRPC: live sessions and documents with API keys, by the same protos as the servers'."""
