// Stays logged in to a cache with nothing but what stands in a mounted Secret.
//
//	go-client FOLDER SECONDS [MAX_CONNECTION_AGE]
//
// FOLDER is where the Secret is mounted. It works for so many seconds and tells how many commands went wrong. For the
// cache's 12-hour cut to be seen in less, MAX_CONNECTION_AGE (11h) can be made as short as the cut.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// connect returns a client that reads username and token from the folder each time it opens a connection, and opens a
// new one before ElastiCache cuts the old.
func connect(folder string, maxAge time.Duration) (*redis.Client, error) {
	address, err := readAll(folder, "host", "port")
	if err != nil {
		return nil, err
	}
	config, err := trust(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, err
	}
	return redis.NewClient(&redis.Options{
		Addr:      net.JoinHostPort(address[0], address[1]),
		TLSConfig: config,
		CredentialsProviderContext: func(context.Context) (string, string, error) {
			login, err := readAll(folder, "username", "password")
			if err != nil {
				return "", "", err
			}
			return login[0], login[1], nil
		},
		// A connection lives 12 hours from its login. The pool retires it before, between two commands.
		ConnMaxLifetime:       maxAge,
		ConnMaxLifetimeJitter: maxAge / 24,
		// So that this program sees every command that is lost; leave it out of yours.
		MaxRetries: -1,
	}), nil
}

// readAll reads files by their paths, each time: the kubelet swaps the folder behind them.
func readAll(folder string, names ...string) ([]string, error) {
	texts := make([]string, len(names))
	for i, name := range names {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, fs.ErrNotExist) { // swapped just now, perhaps: the new version is in place
			text, err = os.ReadFile(filepath.Join(folder, name))
		}
		if err != nil {
			return nil, err
		}
		texts[i] = strings.TrimSpace(string(text))
	}
	return texts, nil
}

// trust returns TLS settings for a private authority, or the system's where there is no such file.
func trust(file string) (*tls.Config, error) {
	pem, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, nil
}

// work sends commands, some of which block for a moment, and says how it went.
func work(client *redis.Client, seconds float64) (failed int, err error) {
	ctx := context.Background()
	user, err := client.ACLWhoAmI(ctx).Result()
	if err != nil {
		return 0, err
	}
	fmt.Printf("logged in as %s\n", user)
	commands := 0
	for end := time.Now().Add(time.Duration(seconds * float64(time.Second))); time.Now().Before(end); {
		_, counted := client.Incr(ctx, user+":count").Result()
		_, popped := client.BLPop(ctx, 100*time.Millisecond, user+":queue").Result()
		for _, err := range []error{counted, popped} {
			commands++
			if err != nil && !errors.Is(err, redis.Nil) {
				failed++
				fmt.Printf("failed: %v\n", err)
			}
		}
	}
	fmt.Printf("%d commands, %d failed\n", commands, failed)
	return failed, nil
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return errors.New("usage: go-client FOLDER SECONDS [MAX_CONNECTION_AGE]")
	}
	seconds, err := strconv.ParseFloat(arguments[1], 64)
	if err != nil {
		return err
	}
	maxAge := 11 * time.Hour
	if len(arguments) > 2 {
		if maxAge, err = time.ParseDuration(arguments[2]); err != nil {
			return err
		}
	}
	client, err := connect(arguments[0], maxAge)
	if err != nil {
		return err
	}
	defer client.Close()
	failed, err := work(client, seconds)
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d commands failed", failed)
	}
	return err
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
