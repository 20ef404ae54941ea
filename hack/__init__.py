"""Development clusters, the demo and the test run, with the standard library only: see README.md."""
