"""Models of Triton's Python backend, as the export copies them; they run in the server's Python, without Steno."""
