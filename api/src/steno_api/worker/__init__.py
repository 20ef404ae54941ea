"""Contract of operator and worker pods: the task, progress reports, and the termination message."""
