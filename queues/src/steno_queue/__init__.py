"""Message queue of attempts: what the operator publishes and the workers of a pool consume, at least once."""
