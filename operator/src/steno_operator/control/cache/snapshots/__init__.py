"""Snapshots: what the planner of each kind is given, read from the caches."""
