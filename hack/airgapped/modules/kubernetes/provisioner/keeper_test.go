package main

import (
	"os"
	"path/filepath"
	"testing"

	v1 "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestMakesAndRemovesAVolume(t *testing.T) {
	ctx, client, class, mode := t.Context(), fake.NewClientset(), "standard", storage.VolumeBindingWaitForFirstConsumer
	k := keeper{client, t.TempDir()}
	classes := []*storage.StorageClass{{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: provisionerName, VolumeBindingMode: &mode}}
	claim := &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "media", Namespace: "team-a", UID: "1234"},
		Spec:       v1.PersistentVolumeClaimSpec{StorageClassName: &class},
	}
	settle := func(volumes ...*v1.PersistentVolume) []v1.PersistentVolume {
		t.Helper()
		if err := k.settle(ctx, classes, []*v1.PersistentVolumeClaim{claim}, volumes); err != nil {
			t.Fatal(err)
		}
		list, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}

	if made := settle(); len(made) != 0 {
		t.Fatalf("made %v before a pod wants the claim", made)
	}
	claim.Annotations = map[string]string{selectedNode: "node"}
	made := settle()
	if made = settle(); len(made) != 1 || made[0].Spec.ClaimRef.UID != claim.UID || made[0].Spec.StorageClassName != class {
		t.Fatalf("made %v", made)
	}
	folder := filepath.Join(k.root, "pvc-1234")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("folder: %v, %v", info, err)
	}

	claim.Spec.VolumeName = made[0].Name
	volume := made[0].DeepCopy()
	if left := settle(volume); len(left) != 1 {
		t.Fatal("removed a volume in use")
	}
	volume.Status.Phase = v1.VolumeReleased
	foreign := volume.DeepCopy()
	foreign.Annotations = nil
	if left := settle(foreign); len(left) != 1 {
		t.Fatal("removed somebody else's volume")
	}
	if left := settle(volume); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Fatalf("left the folder: %v", err)
	}
}
