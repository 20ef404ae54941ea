"""Generated from proto/ by `python -m hack.protos`."""
