"""The resources that the gateway creates, and what became of them."""
