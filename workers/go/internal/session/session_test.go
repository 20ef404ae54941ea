package session

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "steno.dev/workers/internal/pb/stenov1"
)

var (
	hello   = Event{Kind: Started}
	partial = Event{Kind: Partial, Seq: 1, Text: "one", End: 500 * time.Millisecond}
	final   = Event{Kind: Final, Seq: 2, Text: "one two", End: time.Second}
	slow    = Event{Kind: Slow}
	ended   = Event{Kind: Ended, Reason: "ClientEnded"}
)

// converse sends a second of audio in two pieces and returns all events.
func converse(t *testing.T, opened Session) ([]Event, error) {
	t.Helper()
	defer opened.Close()
	for range 2 {
		if err := opened.Send(t.Context(), make([]byte, 16_000)); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(opened.KeepAlive(t.Context()), opened.Finish(t.Context())); err != nil {
		return nil, err
	}
	var events []Event
	for {
		event, err := opened.Receive(t.Context())
		if err != nil {
			return events, err
		}
		if events = append(events, event); event.Kind == Ended {
			return events, nil
		}
	}
}

// webSocketServer answers as a server does.
func webSocketServer(t *testing.T, answers ...string) (string, *[]string) {
	t.Helper()
	received := &[]string{}
	handler := func(writer http.ResponseWriter, request *http.Request) {
		if request.Header.Get("Authorization") != "Bearer key" {
			writer.Header().Set("Content-Type", "application/problem+json")
			writer.WriteHeader(http.StatusUnauthorized)
			_, _ = writer.Write([]byte(`{"code": "KeyMissing", "detail": "Send the API key."}`))
			return
		}
		conn, err := websocket.Accept(writer, request, nil)
		if err != nil {
			return
		}
		for {
			kind, data, err := conn.Read(request.Context())
			if err != nil {
				return
			}
			if kind == websocket.MessageBinary {
				data = []byte("audio")
			}
			*received = append(*received, string(data))
			if strings.Contains(string(data), "end_session") {
				break
			}
		}
		for _, answer := range answers {
			_ = conn.Write(request.Context(), websocket.MessageText, []byte(answer))
		}
		_ = conn.Close(4001, "KeyInvalid")
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(server.Close)
	return strings.Replace(server.URL, "http", "ws", 1), received
}

func TestWebSocket(t *testing.T) {
	url, received := webSocketServer(t,
		`{"type": "session_started", "session_id": "s", "limits": {}}`,
		`{"type": "speech_started", "offset_ms": 0}`,
		`{"type": "partial", "seq": 1, "text": "one", "end_ms": 500}`,
		`{"type": "flow", "state": "slow", "lag_ms": 4000}`,
		`{"type": "flow", "state": "ok", "lag_ms": 0}`,
		`{"type": "error", "code": "InvalidMessage", "fatal": false}`,
		`{"type": "final", "seq": 2, "text": "one two", "end_ms": 1000}`,
		`{"type": "session_ended", "reason": "ClientEnded"}`,
	)
	opened, err := DialWebSocket(t.Context(), Config{URL: url, Token: "key", ID: "a b", Language: "ko", Rate: 8_000})
	if err != nil {
		t.Fatal(err)
	}
	events, err := converse(t, opened)
	want := []Event{hello, partial, slow, {Kind: Warned, Reason: "InvalidMessage"}, final, ended}
	if err != nil || !reflect.DeepEqual(events, want) {
		t.Errorf("%+v %v", events, err)
	}
	var first map[string]any
	if err := json.Unmarshal([]byte((*received)[0]), &first); err != nil {
		t.Fatal(err)
	}
	asked := map[string]any{"type": "start_session", "sample_rate": 8_000.0, "language": "ko", "session_id": "a b"}
	if !reflect.DeepEqual(first, asked) || len(*received) != 5 || (*received)[1] != "audio" {
		t.Error(*received)
	}
}

func TestWebSocketThatIsRefused(t *testing.T) {
	for name, each := range map[string]struct {
		token   string
		answers []string
		code    string
	}{
		"in the handshake": {"", nil, "KeyMissing"},
		"by an error":      {"key", []string{`{"type": "error", "code": "ServerFull", "fatal": true}`}, "ServerFull"},
		"by its close":     {"key", nil, "KeyInvalid"},
	} {
		url, _ := webSocketServer(t, each.answers...)
		opened, err := DialWebSocket(t.Context(), Config{URL: url, Token: each.token, Rate: 16_000})
		if err == nil {
			_, err = converse(t, opened)
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) || refusal.Code != each.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWebSocketWithAnotherProtocol(t *testing.T) {
	url, _ := webSocketServer(t, "hello")
	opened, err := DialWebSocket(t.Context(), Config{URL: url, Token: "key", Rate: 16_000})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := converse(t, opened); !errors.Is(err, ErrUnexpected) {
		t.Error(err)
	}
}

// speech is a gRPC server.
type speech struct {
	pb.UnimplementedSTTServiceServer
	received []*pb.AudioChunk
}

func (server *speech) StreamingRecognize(stream grpc.BidiStreamingServer[pb.AudioChunk, pb.TranscriptEvent]) error {
	given, _ := metadata.FromIncomingContext(stream.Context())
	if values := given.Get("authorization"); len(values) != 1 || values[0] != "Bearer key" {
		stream.SetTrailer(metadata.Pairs(codeTrailer, "TokenMissing"))
		return status.Error(codes.Unauthenticated, "Send the token.")
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		server.received = append(server.received, chunk)
	}
	for _, event := range []*pb.TranscriptEvent{
		{Type: pb.EventType_SESSION_STARTED},
		{Type: pb.EventType_SPEECH_STARTED},
		{Type: pb.EventType_PARTIAL, Seq: 1, Text: "one", EndMs: 500},
		{Type: pb.EventType_FLOW, Flow: &pb.FlowControl{State: "slow"}},
		{Type: pb.EventType_FLOW, Flow: &pb.FlowControl{State: "ok"}},
		{Type: pb.EventType_FINAL, Seq: 2, Text: "one two", EndMs: 1000},
		{Type: pb.EventType_SESSION_ENDED, Ended: &pb.SessionEnded{Reason: "ClientEnded"}},
	} {
		if err := stream.Send(event); err != nil {
			return err
		}
	}
	return nil
}

func grpcServer(t *testing.T) (string, *speech) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := &speech{}
	server := grpc.NewServer()
	pb.RegisterSTTServiceServer(server, served)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String(), served
}

func TestGRPC(t *testing.T) {
	url, served := grpcServer(t)
	config := Config{URL: url, Token: "key", ID: "a b", Language: "ko", Rate: 8_000, Plaintext: true}
	dialling, cancel := context.WithCancel(t.Context())
	opened, err := DialGRPC(dialling, config)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // what bounds the dialling does not bound the session
	events, err := converse(t, opened)
	if want := []Event{hello, partial, slow, final, ended}; err != nil || !reflect.DeepEqual(events, want) {
		t.Errorf("%+v %v", events, err)
	}
	first := served.received[0]
	if first.SessionId != "a b" || first.Config.Language != "ko" || first.Config.SampleRate != 8_000 {
		t.Error(first)
	}
	if len(served.received) != 3 || len(served.received[1].AudioData) != 16_000 {
		t.Error(served.received)
	}
}

func TestGRPCThatIsRefused(t *testing.T) {
	url, _ := grpcServer(t)
	opened, err := DialGRPC(t.Context(), Config{URL: url, Rate: 16_000, Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	var refusal *Refusal
	if _, err := opened.Receive(t.Context()); !errors.As(err, &refusal) || refusal.Code != "TokenMissing" {
		t.Error(err)
	}
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	url, _ := grpcServer(t)
	opened, err := DialGRPC(t.Context(), Config{URL: url, Token: "key", Rate: 16_000, Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := opened.Receive(ctx); status.Code(err) != codes.Canceled {
		t.Error(err)
	}
}

func TestCertificateAuthorityThatIsNone(t *testing.T) {
	config := Config{URL: "wss://127.0.0.1:1", CertificateAuthority: "session_test.go"}
	if _, err := DialWebSocket(t.Context(), config); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
	config.CertificateAuthority = "missing.pem"
	if _, err := DialGRPC(t.Context(), config); err == nil {
		t.Error("a file that does not exist was accepted")
	}
}
