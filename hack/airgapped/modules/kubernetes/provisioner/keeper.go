package main

import (
	"context"
	"errors"
	"log"
	"os"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	provisionerName = "steno.dev/node-folder"
	provisionedBy   = "pv.kubernetes.io/provisioned-by"
	selectedNode    = "volume.kubernetes.io/selected-node"
)

type keeper struct {
	client kubernetes.Interface
	root   string
}

// settle makes a volume for each claim that waits for one and removes the released ones.
// Volumes are named after their claim's UID, so doing it twice does it once.
func (k keeper) settle(ctx context.Context, classes []*storage.StorageClass, claims []*v1.PersistentVolumeClaim, volumes []*v1.PersistentVolume) error {
	ours := map[string]*storage.StorageClass{}
	for _, class := range classes {
		if class.Provisioner == provisionerName {
			ours[class.Name] = class
		}
	}
	var errs []error
	for _, claim := range claims {
		if claim.Spec.StorageClassName == nil {
			continue
		}
		if class := ours[*claim.Spec.StorageClassName]; class != nil && wanted(class, claim) {
			errs = append(errs, k.provision(ctx, class, claim))
		}
	}
	for _, volume := range volumes {
		if disposable(volume) {
			errs = append(errs, k.remove(ctx, volume))
		}
	}
	return errors.Join(errs...)
}

// wanted tells whether a claim of one of our classes is to get a volume now.
func wanted(class *storage.StorageClass, claim *v1.PersistentVolumeClaim) bool {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Status.Phase == v1.ClaimBound {
		return false
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	return !waits || claim.Annotations[selectedNode] != ""
}

// disposable says whether a volume is ours and no claim's any more.
func disposable(volume *v1.PersistentVolume) bool {
	return volume.Annotations[provisionedBy] == provisionerName && volume.DeletionTimestamp == nil && volume.Status.Phase == v1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete
}

func (k keeper) provision(ctx context.Context, class *storage.StorageClass, claim *v1.PersistentVolumeClaim) error {
	name := "pvc-" + string(claim.UID)
	folder := filepath.Join(k.root, name)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chmod(folder, 0o777); err != nil { // whatever the umask: pods run as any user
		return err
	}
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	volume := &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: provisionerName}},
		Spec: v1.PersistentVolumeSpec{
			StorageClassName:              class.Name,
			PersistentVolumeReclaimPolicy: policy,
			AccessModes:                   claim.Spec.AccessModes,
			VolumeMode:                    claim.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: folder}},
			ClaimRef: &v1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
		},
	}
	_, err := k.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	if err == nil {
		log.Printf("made %s for %s/%s", name, claim.Namespace, claim.Name)
	}
	return err
}

func (k keeper) remove(ctx context.Context, volume *v1.PersistentVolume) error {
	if source := volume.Spec.HostPath; source == nil || filepath.Dir(source.Path) != k.root {
		return nil // another root's
	}
	if err := os.RemoveAll(volume.Spec.HostPath.Path); err != nil {
		return err
	}
	err := k.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	log.Printf("removed %s", volume.Name)
	return nil
}
