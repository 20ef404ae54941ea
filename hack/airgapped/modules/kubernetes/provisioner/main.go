// Command provisioner makes a folder on the node for each claim of its storage
// classes, and removes it with the volume. For single-node test clusters.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

func main() {
	root := flag.String("root", "/var/local/steno-volumes", "the folder to make volumes in, the same path here and on the node")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	run(ctx, kubernetes.NewForConfigOrDie(config), filepath.Clean(*root))
}

// run settles every claim and volume whenever one of them changes, and again
// after a while when that failed.
func run(ctx context.Context, client kubernetes.Interface, root string) {
	factory := informers.NewSharedInformerFactory(client, 0)
	classes := factory.Storage().V1().StorageClasses()
	claims := factory.Core().V1().PersistentVolumeClaims()
	volumes := factory.Core().V1().PersistentVolumes()
	changed := make(chan struct{}, 1)
	wake := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { wake() }, UpdateFunc: func(any, any) { wake() }, DeleteFunc: func(any) { wake() },
	}
	for _, informer := range []cache.SharedIndexInformer{classes.Informer(), claims.Informer(), volumes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			log.Fatal(err)
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	keeper := keeper{client, root}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		allClasses, _ := classes.Lister().List(labels.Everything())
		allClaims, _ := claims.Lister().List(labels.Everything())
		allVolumes, _ := volumes.Lister().List(labels.Everything())
		if err := keeper.settle(ctx, allClasses, allClaims, allVolumes); err != nil {
			log.Printf("%v; trying again", err)
			time.AfterFunc(time.Second, wake)
		}
	}
}
