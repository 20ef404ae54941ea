"""The commands of `steno`, by what they work on: this machine, a cluster, a stream."""
