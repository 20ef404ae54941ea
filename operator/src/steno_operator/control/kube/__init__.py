"""The API server: client, leader election, Events, keys of objects, signing key, backoff."""
