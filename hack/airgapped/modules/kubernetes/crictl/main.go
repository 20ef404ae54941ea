// Command crictl has the few verbs of the real one that kind and hack/ call. cri-tools itself is not a module that the
// module proxy serves.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "crictl:", err)
		os.Exit(1)
	}
}

func main() {
	conn, err := grpc.NewClient("unix:///run/containerd/containerd.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
	die(err)
	args := os.Args[1:]
	if len(args) == 0 {
		die(fmt.Errorf("usage: crictl pull IMAGE | inspecti IMAGE | images | ps | pods"))
	}
	timeout := 20 * time.Second
	if args[0] == "pull" {
		timeout = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	img, rt := cri.NewImageServiceClient(conn), cri.NewRuntimeServiceClient(conn)
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	switch args[0] {
	case "pull":
		r, err := img.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: args[len(args)-1]}})
		die(err)
		fmt.Println(r.ImageRef)
	case "inspecti":
		r, err := img.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: args[len(args)-1]}})
		die(err)
		if r.Image == nil {
			die(fmt.Errorf("no such image %q present", args[len(args)-1]))
		}
		die(out.Encode(map[string]any{"status": map[string]any{"id": r.Image.Id, "repoTags": r.Image.RepoTags, "repoDigests": r.Image.RepoDigests, "size": fmt.Sprint(r.Image.Size)}}))
	case "images":
		r, err := img.ListImages(ctx, &cri.ListImagesRequest{})
		die(err)
		for _, i := range r.Images {
			fmt.Println(i.Id, i.RepoTags, i.Size)
		}
	case "ps":
		r, err := rt.ListContainers(ctx, &cri.ListContainersRequest{})
		die(err)
		for _, c := range r.Containers {
			fmt.Println(c.Id[:12], c.Metadata.Name, c.Metadata.Attempt, c.State, c.Labels["io.kubernetes.pod.name"])
		}
	case "pods":
		r, err := rt.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		die(err)
		for _, p := range r.Items {
			fmt.Println(p.Id[:12], p.Metadata.Namespace, p.Metadata.Name, p.State)
		}
	default:
		die(fmt.Errorf("unsupported verb %q", args[0]))
	}
}
