//go:build tools

// Package tools names the etcd server, so that `go mod tidy` keeps what it needs.
//
// A wrapper module, because `go install go.etcd.io/etcd/server/v3@version` refuses a module that has replace lines.
package tools

import _ "go.etcd.io/etcd/server/v3"
