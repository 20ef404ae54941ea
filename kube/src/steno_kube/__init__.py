"""Informers without a framework: API server client, reflector, object cache; what operator and gateway stand on."""
