// Package session has clients of live sessions: one interface over WebSocket and gRPC.
package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind of an event.
type Kind int

// The events that matter to whoever measures a server.
const (
	// Started: the server takes audio now.
	Started Kind = iota + 1
	// Partial: text that may change.
	Partial
	// Final: text that never changes.
	Final
	// Slow: the text lags behind the audio.
	Slow
	// Warned: the server could not use a message; the session goes on.
	Warned
	// Ended is the last event of a session that ended as it should.
	Ended
)

// Event is what a server sends.
type Event struct {
	Kind Kind
	// Seq of partials and finals grows with each.
	Seq uint64
	// Text of partials and finals.
	Text string
	// End of the text in the session's audio.
	End time.Duration
	// Reason of Ended, code of Warned.
	Reason string
}

// Config of a session.
type Config struct {
	// URL of a WebSocket (ws://, wss://), or HOST:PORT of a gRPC server.
	URL string
	// Token or API key; empty: none is sent.
	Token string
	// ID that the client gives its session; empty: none is sent.
	ID string
	// Language code, or auto.
	Language string
	// Rate of the audio in hertz.
	Rate int
	// Plaintext has gRPC use no TLS.
	Plaintext bool
	// CertificateAuthority is a file of CA certificates (PEM); empty: those of the system.
	CertificateAuthority string
}

// Session is a live session. Send and Finish are called by one goroutine, Receive by another.
type Session interface {
	// Send sends PCM.
	Send(ctx context.Context, pcm []byte) error
	// KeepAlive says that the client is there.
	KeepAlive(ctx context.Context) error
	// Finish says that no audio follows.
	Finish(ctx context.Context) error
	// Receive returns the next event. A *Refusal says that the server ended the session, any other error that the
	// connection was lost.
	Receive(ctx context.Context) (Event, error)
	// Close closes the connection.
	Close() error
}

// Refusal is the error of a server that says why it does not serve a session.
type Refusal struct {
	// Code as documented, such as ServerFull.
	Code    string
	Message string
}

func (refusal *Refusal) Error() string {
	if refusal.Message == "" {
		return refusal.Code
	}
	return fmt.Sprintf("%s: %s", refusal.Code, refusal.Message)
}

// ErrUnexpected is the error of a server that does not keep to the protocol.
var ErrUnexpected = errors.New("unexpected message")
