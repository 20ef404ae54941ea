"""Published documents: transcript, pages, and the manifest that lists them."""
