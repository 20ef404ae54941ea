"""Evaluation of recognition against references: manifests, normalisation, error rates and their sums.

`manifest`, `normalise`, `scores`, `speakers` and `summary` take text and times from any recogniser, and only read the
files that a manifest names.
"""
