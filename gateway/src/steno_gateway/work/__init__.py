"""Jobs: what is asked for becomes a resource, and its result an answer."""
