package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

const (
	maxMessageBytes = 1 << 20
	maxProblemBytes = 64 << 10
)

// message of the server, with the fields of all types.
type message struct {
	Type    string `json:"type"`
	Seq     uint64 `json:"seq"`
	Text    string `json:"text"`
	EndMS   int64  `json:"end_ms"`
	State   string `json:"state"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Fatal   bool   `json:"fatal"`
	Reason  string `json:"reason"`
}

type start struct {
	Type       string `json:"type"`
	SampleRate int    `json:"sample_rate"`
	Language   string `json:"language,omitempty"`
	SessionID  string `json:"session_id,omitempty"`
}

type webSocket struct {
	conn *websocket.Conn
}

// DialWebSocket opens a session over a WebSocket and sends start_session.
func DialWebSocket(ctx context.Context, config Config) (Session, error) {
	client, err := httpClient(config)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	if config.Token != "" {
		header.Set("Authorization", "Bearer "+config.Token)
	}
	options := websocket.DialOptions{HTTPClient: client, HTTPHeader: header}
	conn, response, err := websocket.Dial(ctx, config.URL, &options)
	if err != nil {
		return nil, denied(response, err)
	}
	conn.SetReadLimit(maxMessageBytes)
	opened := &webSocket{conn}
	first := start{"start_session", config.Rate, config.Language, config.ID}
	if err := opened.write(ctx, first); err != nil {
		_ = conn.CloseNow()
		return nil, err
	}
	return opened, nil
}

func (session *webSocket) Send(ctx context.Context, pcm []byte) error {
	return session.conn.Write(ctx, websocket.MessageBinary, pcm)
}

func (session *webSocket) KeepAlive(ctx context.Context) error {
	return session.write(ctx, map[string]string{"type": "keep_alive"})
}

func (session *webSocket) Finish(ctx context.Context) error {
	return session.write(ctx, map[string]string{"type": "end_session"})
}

func (session *webSocket) Receive(ctx context.Context) (Event, error) {
	for {
		kind, data, err := session.conn.Read(ctx)
		if err != nil {
			return Event{}, closed(err)
		}
		var got message
		if kind != websocket.MessageText || json.Unmarshal(data, &got) != nil {
			return Event{}, ErrUnexpected
		}
		event := Event{Seq: got.Seq, Text: got.Text, End: time.Duration(got.EndMS) * time.Millisecond}
		switch got.Type {
		case "session_started":
			event.Kind = Started
		case "partial":
			event.Kind = Partial
		case "final":
			event.Kind = Final
		case "flow":
			if got.State != "slow" {
				continue
			}
			event.Kind = Slow
		case "error":
			if got.Fatal {
				return Event{}, &Refusal{got.Code, got.Message}
			}
			event.Kind, event.Reason = Warned, got.Code
		case "session_ended":
			event.Kind, event.Reason = Ended, got.Reason
		default:
			continue // of newer servers, or of no use here
		}
		return event, nil
	}
}

func (session *webSocket) Close() error {
	return session.conn.CloseNow()
}

func (session *webSocket) write(ctx context.Context, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return session.conn.Write(ctx, websocket.MessageText, data)
}

// denied returns why a server refused the handshake: it answers with problem details.
func denied(response *http.Response, err error) error {
	if response == nil || response.StatusCode == http.StatusSwitchingProtocols {
		return err
	}
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if response.Body != nil {
		data, _ := io.ReadAll(io.LimitReader(response.Body, maxProblemBytes))
		_ = json.Unmarshal(data, &problem)
	}
	if problem.Code == "" {
		problem.Code = fmt.Sprintf("HTTP %d", response.StatusCode)
	}
	return &Refusal{problem.Code, problem.Detail}
}

// closed returns why a connection ended. Servers put the code of an error into the close frame.
func closed(err error) error {
	var frame websocket.CloseError
	if !errors.As(err, &frame) {
		return err
	}
	if frame.Reason == "" {
		return &Refusal{fmt.Sprintf("closed with %d", frame.Code), ""}
	}
	return &Refusal{frame.Reason, ""}
}
