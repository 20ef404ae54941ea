"""The commands of `steno`: option parsing and printing around the library modules of `steno_client`."""
