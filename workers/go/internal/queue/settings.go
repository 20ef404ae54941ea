package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	timeout       = 10 * time.Second
	redisKind     = "RedisStreams"
	plainScheme   = "redis"
	encrypted     = "rediss"
	defaultPort   = "6379"
	maxReceives   = 5
	visibility    = 60
	deduplication = 300
)

// Settings of a queue, as a pool's task has them.
type Settings struct {
	Kind                 string  `json:"kind"`
	URL                  string  `json:"url"`
	Name                 string  `json:"name"`
	CredentialsDir       string  `json:"credentialsDir"`
	CAFile               string  `json:"caFile"`
	AllowPlaintext       bool    `json:"allowPlaintext"`
	VisibilitySeconds    float64 `json:"visibilitySeconds"`
	MaxReceives          int     `json:"maxReceives"`
	DeduplicationSeconds int     `json:"deduplicationSeconds"`
}

// DefaultSettings returns what counts where a task does not say otherwise.
func DefaultSettings() Settings {
	return Settings{
		Name: "steno", VisibilitySeconds: visibility, MaxReceives: maxReceives, DeduplicationSeconds: deduplication,
	}
}

// Visibility is how long a lease lasts.
func (settings Settings) Visibility() time.Duration {
	return time.Duration(settings.VisibilitySeconds * float64(time.Second))
}

// Validate checks that this worker can use the queue.
func (settings Settings) Validate() error {
	if settings.Kind != redisKind {
		return fmt.Errorf("this worker takes messages from %s, and the pool's queue is %s", redisKind, settings.Kind)
	}
	parts, err := url.Parse(settings.URL)
	if err != nil || parts.Hostname() == "" || (parts.Scheme != plainScheme && parts.Scheme != encrypted) {
		return errors.New("the URL of a RedisStreams queue begins with rediss://host")
	}
	if parts.User != nil || parts.RawQuery != "" {
		return errors.New("the queue's URL may hold neither credentials nor options: use credentialsDir")
	}
	if parts.Scheme == plainScheme && !settings.AllowPlaintext && !isLoopback(parts.Hostname()) {
		return errors.New("use rediss:// for a queue on another machine, or set allowPlaintext: true")
	}
	if settings.VisibilitySeconds < 0.05 || settings.MaxReceives < 1 || settings.DeduplicationSeconds < 1 {
		return errors.New("the queue's times and counts must be positive")
	}
	return nil
}

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || (address != nil && address.IsLoopback())
}

func (settings Settings) options() (*redis.Options, error) {
	if err := settings.Validate(); err != nil {
		return nil, err
	}
	parts, err := url.Parse(settings.URL)
	if err != nil {
		return nil, err
	}
	port := parts.Port()
	if port == "" {
		port = defaultPort
	}
	database := 0
	if path := strings.Trim(parts.Path, "/"); path != "" {
		if database, err = strconv.Atoi(path); err != nil {
			return nil, errors.New("the path of a RedisStreams queue's URL is the number of its database")
		}
	}
	options := &redis.Options{
		Addr: net.JoinHostPort(parts.Hostname(), port), DB: database, Protocol: 2, DisableIdentity: true,
		DialTimeout: timeout / 2, ReadTimeout: timeout, WriteTimeout: timeout,
		// A connection that died while it was idle costs one retry; more is the caller's affair.
		MaxRetries: 1, MinRetryBackoff: 20 * time.Millisecond, MaxRetryBackoff: 100 * time.Millisecond,
	}
	if folder := settings.CredentialsDir; folder != "" {
		// Read for each connection: a mounted Secret may have been replaced.
		options.CredentialsProviderContext = func(context.Context) (string, string, error) {
			return read(folder, "username"), read(folder, "password"), nil
		}
	}
	if parts.Scheme == encrypted {
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: parts.Hostname()}
		if settings.CAFile != "" {
			data, err := os.ReadFile(settings.CAFile)
			if err != nil {
				return nil, err
			}
			options.TLSConfig.RootCAs = x509.NewCertPool()
			if !options.TLSConfig.RootCAs.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("%s has no certificate (PEM)", settings.CAFile)
			}
		}
	}
	return options, nil
}

func read(folder, name string) string {
	data, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
