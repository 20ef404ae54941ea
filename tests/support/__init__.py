"""Support for tests: a real etcd and kube-apiserver, started in seconds and stopped with the test process."""
