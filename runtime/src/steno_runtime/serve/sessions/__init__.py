"""Live sessions, whatever the protocol: who may open one, the conversation with its client, its end, its transcript."""
