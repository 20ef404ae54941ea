"""Attacks on real servers and a real API server, and what they may cost."""
