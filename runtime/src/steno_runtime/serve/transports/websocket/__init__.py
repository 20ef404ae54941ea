"""`/stt/realtime`: live sessions over a WebSocket."""
