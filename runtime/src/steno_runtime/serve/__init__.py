"""The server of a pool: live sessions over WebSocket and gRPC, uploads over REST, one warm model for all."""
