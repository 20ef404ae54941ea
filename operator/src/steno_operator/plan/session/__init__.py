"""The planner of StreamSessions."""
