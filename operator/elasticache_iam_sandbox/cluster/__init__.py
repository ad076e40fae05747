"""A real Kubernetes control plane on loopback, without containers: etcd, kube-apiserver, kube-controller-manager."""
