"""OCR engines behind one protocol (`base`); each has a file of its own and imports its library at first use."""
