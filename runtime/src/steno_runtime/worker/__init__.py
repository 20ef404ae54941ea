"""The batch worker: one task in, published results and a last word out."""
