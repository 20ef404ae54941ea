"""The batch worker: one task in; published results and a termination message out."""
