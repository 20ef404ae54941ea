"""Optical character recognition: images and PDFs in, page documents out, one page at a time."""
