"""Everything that does I/O: what is observed, the work queue, carrying out plans, leadership, reports, probes."""
