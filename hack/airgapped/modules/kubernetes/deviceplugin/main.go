// Command deviceplugin advertises GPUs that do not exist, through the kubelet's
// device plugin API, so that tests run against real allocation and real health.
// It is for test clusters only.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const endpoint = "steno-gpu.sock"

func main() {
	count := flag.Int("count", 4, "how many devices to advertise")
	resource := flag.String("resource", "nvidia.com/gpu", "the resource's name")
	unhealthy := flag.String("unhealthy-file", "/var/lib/steno-fake-gpu/unhealthy", "a file that lists the ids of unhealthy devices, one a line")
	folder := flag.String("plugin-dir", api.DevicePluginPath, "the kubelet's device plugin folder")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	p := &plugin{ids: deviceIDs(*count), unhealthyFile: *unhealthy, poll: time.Second}
	for ctx.Err() == nil {
		if err := serve(ctx, p, *folder, *resource); err != nil && ctx.Err() == nil {
			log.Printf("%v; trying again", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

// serve registers with the kubelet and answers it until the kubelet restarts
// (it then empties its plugin folder, and with it our socket) or ctx ends.
func serve(ctx context.Context, p *plugin, folder, resource string) error {
	socket := filepath.Join(folder, endpoint)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	ours, err := os.Stat(socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	api.RegisterDevicePluginServer(server, p)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	defer server.Stop()

	if err := register(ctx, filepath.Join(folder, "kubelet.sock"), resource); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	log.Printf("registered %d × %s", len(p.ids), resource)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-tick.C:
			if now, err := os.Stat(socket); err != nil || !os.SameFile(ours, now) {
				return errors.New("the kubelet restarted")
			}
		}
	}
}

func register(ctx context.Context, kubelet, resource string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := grpc.NewClient("unix://"+kubelet, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = api.NewRegistrationClient(conn).Register(ctx, &api.RegisterRequest{Version: api.Version, Endpoint: endpoint, ResourceName: resource})
	return err
}
