//go:build tools

// Package tools names the helm command, so that `go mod tidy` keeps what it needs.
//
// A wrapper module, so that go.sum pins every line that helm is built from.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
