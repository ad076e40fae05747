//go:build tools

// Package tools names the commands that the local cluster is built from, so that `go mod tidy` keeps what they need.
//
// A wrapper module, because `go install k8s.io/kubernetes/cmd/...@version` refuses a module that has replace lines.
// For a new version change the require line and all replace lines of go.mod, then run `go mod tidy`.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
