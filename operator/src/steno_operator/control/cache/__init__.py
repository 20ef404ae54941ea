"""What is observed, in memory: caches of objects, indexed, and the snapshots that planners are given."""
