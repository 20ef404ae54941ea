"""What builds and runs Steno's development clusters. Plain Python, standard library only."""
