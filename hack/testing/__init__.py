"""What tests stand on: a real etcd and kube-apiserver, started in seconds and gone with the test process."""
