"""What workers and servers report over HTTP."""
