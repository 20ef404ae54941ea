"""Live sessions as StreamSessions, and the connections to their servers."""
