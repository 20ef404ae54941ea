// Package storage reads sources and writes outputs as the runtime's storage does: addresses are checked as they are
// connected to, credentials go where their Secret says, and what exists is never overwritten.
package storage

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"steno.dev/workers/internal/egress"
)

const (
	// answer is how long a server may take to begin its answer.
	answer = 30 * time.Second
	// MaxDocument is what a runtime server takes in one message of gRPC.
	MaxDocument = 32 << 20
)

// Failure reasons that this package has; the operator knows what each means for a retry.
const (
	InvalidSpec       = "InvalidSpec"
	SourceNotFound    = "SourceNotFound"
	SourceForbidden   = "SourceForbidden"
	SourceUnavailable = "SourceUnavailable"
	TooLarge          = "TooLarge"
	OutputNotFound    = "OutputNotFound"
	OutputForbidden   = "OutputForbidden"
	OutputUnavailable = "OutputUnavailable"
)

const maxMessage = 1500

// Failure is why an attempt failed: a reason, and one or two sentences for people.
type Failure struct{ Reason, Message string }

func (failure *Failure) Error() string { return failure.Reason + ": " + failure.Message }

// Fail returns the failure of a reason.
func Fail(reason, format string, words ...any) *Failure {
	text := fmt.Sprintf(format, words...)
	if utf8.RuneCountInString(text) > maxMessage {
		text = string([]rune(text)[:maxMessage-1]) + "…"
	}
	return &Failure{reason, text}
}

// ErrLeft is the error of what this worker does not do, and a server of the pool may.
var ErrLeft = errors.New("left to the servers of the pool")

// role is what credentials are for.
type role string

const (
	source role = "source"
	output role = "output"
)

func (of role) forbidden() string {
	if of == source {
		return SourceForbidden
	}
	return OutputForbidden
}

// readCredentials returns the keys and values of a mounted Secret: they are read at each call, since Kubernetes
// replaces the files when the Secret changes.
func readCredentials(folder *string) (map[string]string, error) {
	values := map[string]string{}
	if folder == nil {
		return values, nil
	}
	unreadable := Fail(InvalidSpec, "The credentials cannot be read. Check the Secret that secretRef names: every value "+
		"must be text.")
	entries, err := os.ReadDir(*folder)
	if err != nil {
		return nil, unreadable
	}
	for _, entry := range entries {
		// Kubernetes keeps the versions of the Secret in entries whose names begin with "..".
		name := filepath.Join(*folder, entry.Name())
		if about, err := os.Stat(name); err != nil || !about.Mode().IsRegular() || entry.Name()[0] == '.' {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil || !utf8.Valid(data) {
			return nil, unreadable
		}
		values[entry.Name()] = strings.TrimSpace(string(data))
	}
	return values, nil
}

func outsideScope(of role, where, why string) *Failure {
	return Fail(of.forbidden(), "The credentials in the Secret of %s.secretRef are not sent to %s: %s. Use a Secret that "+
		"was made for it, or have its keys allowedPrefix and allowPlainHTTP changed.", of, where, why)
}

// Redact returns a URI without user, password, query and fragment, which may be credentials.
func Redact(uri string) string {
	lower := strings.ToLower(uri)
	if !strings.HasPrefix(lower, "http://") && !strings.HasPrefix(lower, "https://") {
		return uri
	}
	cut := uri
	if end := strings.IndexAny(cut, "?#"); end >= 0 {
		cut = cut[:end]
	}
	scheme, rest, _ := strings.Cut(cut, "://")
	host, path, slashed := strings.Cut(rest, "/")
	host = host[strings.LastIndex(host, "@")+1:]
	if slashed {
		path = "/" + path
	}
	return strings.ToLower(scheme) + "://" + host + path
}

// Store opens sources and outputs on networks that are permitted.
type Store struct {
	transport *egress.Transport
	retry     time.Duration
}

// NewStore returns a store whose connections go through a filter.
func NewStore(filter *egress.Filter) *Store {
	return &Store{egress.NewTransport(filter, answer), 500 * time.Millisecond}
}

// forbiddenAddress tells whether a request was refused by the filter of addresses.
func forbiddenAddress(err error) bool { return errors.Is(err, egress.ErrForbidden) }

// plainError returns why there was no answer, without the URL, which may be a credential.
func plainError(err error) string {
	var failed net.Error
	if errors.As(err, &failed) && failed.Timeout() {
		return "the server did not answer within 30 s"
	}
	return "no connection to the server"
}
