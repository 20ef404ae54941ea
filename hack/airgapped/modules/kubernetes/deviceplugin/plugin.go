package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// plugin answers the kubelet for a fixed set of devices.
type plugin struct {
	api.UnimplementedDevicePluginServer
	ids           []string
	unhealthyFile string
	poll          time.Duration
}

// deviceIDs names devices as NVIDIA's plugin does: GPU-<uuid>.
func deviceIDs(count int) []string {
	ids := make([]string, count)
	for i := range ids {
		ids[i] = fmt.Sprintf("GPU-57e40000-0000-4000-8000-%012d", i)
	}
	return ids
}

// devices pairs each id with its health; every word of listed is an unhealthy id.
func devices(ids []string, listed string) []*api.Device {
	bad := strings.Fields(listed)
	all := make([]*api.Device, len(ids))
	for i, id := range ids {
		health := api.Healthy
		if slices.Contains(bad, id) {
			health = api.Unhealthy
		}
		all[i] = &api.Device{ID: id, Health: health}
	}
	return all
}

func (p *plugin) listed() string {
	text, err := os.ReadFile(p.unhealthyFile)
	if err != nil {
		return "" // no file: all are well
	}
	return string(text)
}

func (p *plugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{}, nil
}

// ListAndWatch sends the devices now and again whenever the list of unhealthy ones changes.
func (p *plugin) ListAndWatch(_ *api.Empty, stream api.DevicePlugin_ListAndWatchServer) error {
	tick := time.NewTicker(p.poll)
	defer tick.Stop()
	for sent, first := "", true; ; first = false {
		if now := p.listed(); first || now != sent {
			if err := stream.Send(&api.ListAndWatchResponse{Devices: devices(p.ids, now)}); err != nil {
				return err
			}
			sent = now
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *plugin) Allocate(_ context.Context, request *api.AllocateRequest) (*api.AllocateResponse, error) {
	answer := &api.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		for _, id := range container.DevicesIds {
			if !slices.Contains(p.ids, id) {
				return nil, status.Errorf(codes.InvalidArgument, "no device %q", id)
			}
		}
		answer.ContainerResponses = append(answer.ContainerResponses, &api.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")},
		})
	}
	return answer, nil
}

func (p *plugin) GetPreferredAllocation(context.Context, *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	return &api.PreferredAllocationResponse{}, nil
}

func (p *plugin) PreStartContainer(context.Context, *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	return &api.PreStartContainerResponse{}, nil
}
