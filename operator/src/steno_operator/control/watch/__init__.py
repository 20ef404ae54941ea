"""Sources of change: kopf, reflectors, and the check that none of them went silent."""
