"""The API server: client, leader election, Events, keys of objects."""
