"""Uploaded recordings and documents, for any protocol: the job queue and the work that it runs."""
