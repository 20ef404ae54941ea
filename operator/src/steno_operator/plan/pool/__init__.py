"""The planner of RuntimePools."""
