// Package recognition has a runtime server read documents, over OCRService.BatchProcess: the server renders every
// format, so that the files are those that it would publish itself.
package recognition

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "steno.dev/workers/internal/pb/stenov1"
	"steno.dev/workers/internal/publish"
	"steno.dev/workers/internal/storage"
	"steno.dev/workers/internal/task"
)

const (
	maxResponse              = 512 << 20
	firstPause, longestPause = 500 * time.Millisecond, 10 * time.Second
	tooLongForPool           = "TooLongForPool"
)

// reasons are problems of a document, and of the server that read it, which end an attempt as they would on a server of
// the pool. Others are left to these.
var reasons = map[string]bool{
	"UnsupportedMedia": true, "Encrypted": true, "InvalidSpec": true, "ModelNotFound": true, "ModelMismatch": true,
	"ModelUnavailable": true, "OutOfMemory": true, "Internal": true,
}

// busy are problems that pass.
var busy = map[string]bool{
	"QueueFull": true, "Draining": true, "NotReady": true, "ServerFull": true, "RateLimited": true,
}

// Config of a runtime server.
type Config struct {
	// Address is HOST:PORT.
	Address string
	// TokenFile has a token or API key; empty: none is sent.
	TokenFile string
	// CertificateAuthority is a file of CA certificates (PEM); empty: those of the system.
	CertificateAuthority string
	// Plaintext has gRPC use no TLS.
	Plaintext bool
}

// Server is a runtime server.
type Server struct {
	config Config
	conn   *grpc.ClientConn
	client pb.OCRServiceClient
}

// Connect prepares calls; the connection is made when it is needed.
func Connect(config Config) (*Server, error) {
	transport := insecure.NewCredentials()
	if !config.Plaintext {
		settings := &tls.Config{MinVersion: tls.VersionTLS12}
		if config.CertificateAuthority != "" {
			data, err := os.ReadFile(config.CertificateAuthority)
			if err != nil {
				return nil, err
			}
			settings.RootCAs = x509.NewCertPool()
			if !settings.RootCAs.AppendCertsFromPEM(data) {
				return nil, fmt.Errorf("%s has no certificate (PEM)", config.CertificateAuthority)
			}
		}
		transport = credentials.NewTLS(settings)
	}
	conn, err := grpc.NewClient(
		config.Address, grpc.WithTransportCredentials(transport), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponse)),
	)
	if err != nil {
		return nil, err
	}
	return &Server{config, conn, pb.NewOCRServiceClient(conn)}, nil
}

// Close closes the connection.
func (server *Server) Close() error { return server.conn.Close() }

// Read has a document read, and waits while the server is busy or away. The error is a *storage.Failure;
// storage.ErrLeft; or that of ctx.
func (server *Server) Read(ctx context.Context, asked *task.OCR, content []byte) (*publish.Document, error) {
	request := &pb.DocumentRequest{
		DocumentId: asked.DocumentID, Source: &pb.DocumentRequest_Content{Content: content},
		Languages: asked.Languages, Engine: strings.ToLower(asked.Engine), Pages: asked.Pages,
		Mode: strings.ToLower(asked.Mode), TenantId: asked.Tenant, Metadata: asked.Metadata, Formats: formats(asked),
	}
	if asked.OnlyShort != nil {
		request.MaxPages = asked.OnlyShort.Pages
	}
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		response, err := server.call(ctx, request)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && !busy[response.GetError().GetCode()] {
			return document(asked, response)
		}
		if err != nil && status.Code(err) != codes.Unavailable {
			return nil, fmt.Errorf("%w: the runtime server refuses calls: %s", storage.ErrLeft, status.Convert(err).Message())
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// formats returns those to ask for: the primary one, of which the manifest has figures, is always among them.
func formats(asked *task.OCR) []string {
	wanted := []string{publish.Primary}
	for _, format := range asked.Output.Formats {
		if format != publish.Primary {
			wanted = append(wanted, format)
		}
	}
	return wanted
}

func (server *Server) call(ctx context.Context, request *pb.DocumentRequest) (*pb.OCRResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if server.config.TokenFile != "" {
		token, err := os.ReadFile(server.config.TokenFile) // it may have been replaced
		if err != nil {
			return nil, err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	stream, err := server.client.BatchProcess(ctx)
	if err != nil {
		return nil, err
	}
	// An error of Send says only that the call has ended; Recv says why.
	_ = stream.Send(request)
	_ = stream.CloseSend()
	return stream.Recv()
}

// document returns the document of a response, or what its problem means.
func document(asked *task.OCR, response *pb.OCRResponse) (*publish.Document, error) {
	if problem := response.Error; problem != nil {
		switch {
		case problem.Code == storage.TooLarge && asked.OnlyShort != nil:
			return nil, storage.Fail(tooLongForPool, "%s", problem.Message)
		case reasons[problem.Code]:
			return nil, storage.Fail(problem.Code, "%s", problem.Message)
		}
		return nil, fmt.Errorf("%w: the runtime server answered %s", storage.ErrLeft, problem.Code)
	}
	var files []publish.File
	for _, each := range response.Artifacts {
		files = append(files, publish.File{
			Format: each.Format, Name: each.Name, ContentType: each.ContentType, Data: each.Data,
		})
	}
	read, ok := publish.ReadDocument(files)
	if !ok {
		return nil, fmt.Errorf("%w: %w", storage.ErrLeft, errNoArtifacts)
	}
	if !read.IsOf(asked) {
		return nil, fmt.Errorf("%w: %w", storage.ErrLeft, errOtherTenant)
	}
	return read, nil
}

var (
	errNoArtifacts = errors.New("the runtime server makes no artifacts: use one of this worker's version")
	errOtherTenant = errors.New("the runtime server made a document of another tenant: give it no token or key of one")
)
