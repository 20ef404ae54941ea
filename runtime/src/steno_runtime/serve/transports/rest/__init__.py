"""REST: uploads, jobs, health and metrics."""
