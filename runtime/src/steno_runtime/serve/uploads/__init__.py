"""Uploaded recordings and documents, whatever the protocol: the job queue and the work that it runs."""
