package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// kubelet is the registration side of the kubelet, which counts who comes.
type kubelet struct {
	api.UnimplementedRegistrationServer
	came chan *api.RegisterRequest
}

func (k *kubelet) Register(_ context.Context, request *api.RegisterRequest) (*api.Empty, error) {
	k.came <- request
	return &api.Empty{}, nil
}

func TestServesAndRegistersAgainWhenTheKubeletRestarts(t *testing.T) {
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, "kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	k := &kubelet{came: make(chan *api.RegisterRequest, 8)}
	server := grpc.NewServer()
	api.RegisterRegistrationServer(server, k)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	bad := filepath.Join(folder, "unhealthy")
	p := &plugin{ids: deviceIDs(4), unhealthyFile: bad, poll: 10 * time.Millisecond}
	done := make(chan error, 1)
	go func() { done <- serve(ctx, p, folder, "nvidia.com/gpu") }()
	if got := <-k.came; got.ResourceName != "nvidia.com/gpu" || got.Endpoint != endpoint || got.Version != "v1beta1" {
		t.Fatalf("registered as %v", got)
	}

	conn, err := grpc.NewClient("unix://"+filepath.Join(folder, endpoint), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := api.NewDevicePluginClient(conn)
	stream, err := client.ListAndWatch(ctx, &api.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	if err != nil || len(first.Devices) != 4 || first.Devices[2].Health != api.Healthy {
		t.Fatalf("listed %v, %v", first, err)
	}
	if err := os.WriteFile(bad, []byte(p.ids[2]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := stream.Recv()
	if err != nil || second.Devices[2].Health != api.Unhealthy || second.Devices[1].Health != api.Healthy {
		t.Fatalf("listed %v, %v", second, err)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	third, err := stream.Recv()
	if err != nil || third.Devices[2].Health != api.Healthy {
		t.Fatalf("listed %v, %v", third, err)
	}

	allocated, err := client.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: p.ids[1:3]}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := allocated.ContainerResponses[0].Envs["NVIDIA_VISIBLE_DEVICES"]; got != p.ids[1]+","+p.ids[2] {
		t.Fatalf("NVIDIA_VISIBLE_DEVICES=%s", got)
	}
	if _, err := client.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: []string{"GPU-none"}}}}); err == nil {
		t.Fatal("gave a device that does not exist")
	}

	// A kubelet that starts empties its plugin folder; ours must come back by itself.
	if err := os.Remove(filepath.Join(folder, endpoint)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Fatal("did not notice that its socket is gone")
	}
	again, stop := context.WithCancel(ctx)
	go func() { done <- serve(again, p, folder, "nvidia.com/gpu") }()
	<-k.came
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
