"""Triton Inference Server: the models that it is given, and a client of them.

A model repository made here (`repository`) is served by any Triton; the engines of `ocr` call it through `client`, with
the code before and after a model being the same as in process.
"""
