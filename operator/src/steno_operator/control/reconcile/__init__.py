"""Reconciling: the work queue, one loop for every kind, the controllers, and the carrying out of plans."""
