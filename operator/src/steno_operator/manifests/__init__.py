"""From a spec to the manifests of its children: pure, no clock, no I/O."""
