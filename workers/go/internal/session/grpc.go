package session

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "steno.dev/workers/internal/pb/stenov1"
)

const codeTrailer = "steno-code"

type grpcSession struct {
	conn   *grpc.ClientConn
	stream grpc.BidiStreamingClient[pb.AudioChunk, pb.TranscriptEvent]
	cancel context.CancelFunc
}

// DialGRPC opens a session over a connection of its own and sends its configuration.
func DialGRPC(ctx context.Context, config Config) (Session, error) {
	transport := insecure.NewCredentials()
	if !config.Plaintext {
		settings, err := tlsConfig(config)
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(settings)
	}
	conn, err := grpc.NewClient(config.URL, grpc.WithTransportCredentials(transport))
	if err != nil {
		return nil, err
	}
	// The call outlives the dialling: ctx bounds only what is done here.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if config.Token != "" {
		life = metadata.AppendToOutgoingContext(life, "authorization", "Bearer "+config.Token)
	}
	opened := &grpcSession{conn: conn, cancel: cancel}
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	if opened.stream, err = pb.NewSTTServiceClient(conn).StreamingRecognize(life); err != nil {
		return nil, errors.Join(opened.failed(err), opened.Close())
	}
	first := &pb.AudioChunk{
		SessionId: config.ID,
		Config:    &pb.StreamConfig{Language: config.Language, SampleRate: int32(config.Rate)},
	}
	// EOF: the server has ended the call already, and Receive says why.
	if err := opened.stream.Send(first); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, opened.Close())
	}
	return opened, nil
}

func (session *grpcSession) Send(_ context.Context, pcm []byte) error {
	return session.stream.Send(&pb.AudioChunk{AudioData: pcm})
}

// KeepAlive does nothing: HTTP/2 has pings of its own.
func (session *grpcSession) KeepAlive(context.Context) error {
	return nil
}

func (session *grpcSession) Finish(context.Context) error {
	return session.stream.CloseSend()
}

func (session *grpcSession) Receive(ctx context.Context) (Event, error) {
	stop := context.AfterFunc(ctx, session.cancel)
	defer stop()
	for {
		got, err := session.stream.Recv()
		if err != nil {
			return Event{}, session.failed(err)
		}
		event := Event{Seq: got.Seq, Text: got.Text, End: time.Duration(got.EndMs) * time.Millisecond}
		switch got.Type {
		case pb.EventType_SESSION_STARTED:
			event.Kind = Started
		case pb.EventType_PARTIAL:
			event.Kind = Partial
		case pb.EventType_FINAL:
			event.Kind = Final
		case pb.EventType_FLOW:
			if got.Flow.GetState() != "slow" {
				continue
			}
			event.Kind = Slow
		case pb.EventType_SESSION_ENDED:
			event.Kind, event.Reason = Ended, got.Ended.GetReason()
		default:
			continue // of newer servers, or of no use here
		}
		return event, nil
	}
}

func (session *grpcSession) Close() error {
	session.cancel()
	return session.conn.Close()
}

// failed returns why a call ended. Servers put the code of an error into the trailing metadata.
func (session *grpcSession) failed(err error) error {
	if session.stream == nil || errors.Is(err, io.EOF) {
		return err
	}
	if codes := session.stream.Trailer().Get(codeTrailer); len(codes) > 0 {
		return &Refusal{codes[0], status.Convert(err).Message()}
	}
	return err
}
