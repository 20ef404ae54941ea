"""Live sessions, for any protocol: opening them, the conversation with a client, how they end, their transcripts."""
