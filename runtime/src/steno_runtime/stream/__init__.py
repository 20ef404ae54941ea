"""Live speech: sessions of audio that share one model."""
