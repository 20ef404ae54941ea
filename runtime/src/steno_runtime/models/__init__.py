"""Models by name: from the model store, else from the Hugging Face hub."""
