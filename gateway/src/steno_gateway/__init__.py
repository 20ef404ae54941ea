"""API gateway: clients with an API key in front, custom resources and pools' servers behind."""
