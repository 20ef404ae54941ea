package recognition

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "steno.dev/workers/internal/pb/stenov1"
	"steno.dev/workers/internal/storage"
	"steno.dev/workers/internal/task"
)

// scripted is a server that gives these answers, one after the other.
type scripted struct {
	pb.UnimplementedOCRServiceServer
	answers []any
	asked   []*pb.DocumentRequest
	tokens  []string
}

func (server *scripted) BatchProcess(stream grpc.BidiStreamingServer[pb.DocumentRequest, pb.OCRResponse]) error {
	request, err := stream.Recv()
	if err != nil {
		return err
	}
	sent, _ := metadata.FromIncomingContext(stream.Context())
	server.asked, server.tokens = append(server.asked, request), append(server.tokens, sent.Get("authorization")...)
	answer := server.answers[0]
	server.answers = server.answers[1:]
	if err, failed := answer.(error); failed {
		return err
	}
	return stream.Send(answer.(*pb.OCRResponse))
}

func problem(code string) *pb.OCRResponse {
	return &pb.OCRResponse{Error: &pb.Problem{Code: code, Message: "It is so."}}
}

func artifacts(tenant string) *pb.OCRResponse {
	data := `{"tenant_id": "` + tenant + `", "document_id": "d", "total_pages": 2, "pages": []}`
	return &pb.OCRResponse{Artifacts: []*pb.Artifact{
		{Format: "json", Name: "pages.json", ContentType: "application/json", Data: []byte(data)},
	}}
}

func serve(t *testing.T, answers ...any) (*scripted, *Server) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	script := &scripted{answers: answers}
	server := grpc.NewServer()
	pb.RegisterOCRServiceServer(server, script)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	connected, err := Connect(Config{Address: listener.Addr().String(), TokenFile: token, Plaintext: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connected.Close() })
	return script, connected
}

var wanted = task.OCR{
	DocumentID: "d", Tenant: "acme", Engine: "RapidOCR", Mode: "Redo", Pages: "1-2", Languages: []string{"ko"},
	Metadata: map[string]string{"case": "7"}, Output: task.Location{Formats: []string{"markdown", "txt"}},
	OnlyShort: &task.ShortSource{Pages: 20},
}

func TestWhatAServerIsAskedAndThatABusyOneIsAskedAgain(t *testing.T) {
	script, server := serve(t, problem("QueueFull"), artifacts("acme"))
	read, err := server.Read(t.Context(), &wanted, []byte("content"))
	if err != nil || read.Pages() != 2 {
		t.Fatal(read, err)
	}
	asked := script.asked[1]
	if asked.DocumentId != "d" || asked.TenantId != "acme" || asked.Engine != "rapidocr" || asked.Mode != "redo" ||
		asked.Pages != "1-2" || asked.MaxPages != 20 || asked.Metadata["case"] != "7" ||
		!slices.Equal(asked.Formats, []string{"json", "markdown", "txt"}) || string(asked.GetContent()) != "content" {
		t.Error(asked)
	}
	if !slices.Equal(script.tokens, []string{"Bearer key", "Bearer key"}) {
		t.Error(script.tokens)
	}
}

func TestWhatProblemsMean(t *testing.T) {
	long := wanted
	long.OnlyShort = nil
	for _, each := range []struct {
		asked  *task.OCR
		answer any
		reason string
	}{
		{&wanted, problem("UnsupportedMedia"), "UnsupportedMedia"},
		{&wanted, problem("OutOfMemory"), "OutOfMemory"},
		{&wanted, problem("TooLarge"), "TooLongForPool"},
		{&long, problem("TooLarge"), ""}, // a server of the pool takes more
		{&wanted, problem("InvalidRequest"), ""},
		{&wanted, &pb.OCRResponse{Text: "of a server that knows no formats"}, ""},
		{&wanted, artifacts("rival"), ""},
		{&wanted, status.Error(codes.Unauthenticated, "no token"), ""},
	} {
		_, server := serve(t, each.answer)
		_, err := server.Read(t.Context(), each.asked, nil)
		var failure *storage.Failure
		if each.reason == "" && !errors.Is(err, storage.ErrLeft) {
			t.Error(each.answer, err)
		}
		if each.reason != "" && (!errors.As(err, &failure) || failure.Reason != each.reason || failure.Message != "It is so.") {
			t.Error(each.answer, err)
		}
	}
}
