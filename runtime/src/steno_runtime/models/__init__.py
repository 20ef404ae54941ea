"""Models by name: the model store first, then the Hugging Face hub."""
