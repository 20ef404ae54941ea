"""RuntimeProfile: what a runtime pod asks for, named once by the cluster's administrator."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from steno_api.model import Model
from steno_api.v1alpha1.common import Name
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$", max_length=32)]


class Accelerator(Model):
    """The accelerator each pod is given."""

    resource: Annotated[str, Field(min_length=3, max_length=128)] = "nvidia.com/gpu"
    """Extended resource: `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`, `nvidia.com/gpu.shared`."""
    count: Annotated[int, Field(ge=1, le=16)] = 1


class Resources(Model):
    """Kubernetes' resource lists, without the accelerator."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8)] = {}
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] = {}


class Toleration(Model):
    """Kubernetes' toleration."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: int | None = None


class ModelStore(Model):
    """Where models lie; exactly one, or none for the image's own `/models`."""

    persistent_volume_claim: Name | None = None
    """A claim in the job's namespace, mounted read-only."""
    host_path: Annotated[str, Field(pattern=r"^/.+")] | None = None


class RuntimeProfileSpec(Model):
    """What a runtime pod asks for."""

    image: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """Default: the operator's runtime image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Annotated[list[Name], Field(max_length=8)] = []
    accelerator: Accelerator | None = None
    """Absent: CPU only."""
    memory_mi_b: Annotated[int, Field(ge=1)] | None = Field(None, alias="memoryMiB")
    """GPU memory a pod has for itself, for `batchSize: auto`."""
    resources: Resources = Resources()
    node_selector: Annotated[dict[str, str], Field(max_length=32)] = {}
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = []
    runtime_class_name: Name | None = None
    priority_class_name: Name | None = None
    service_account_name: Name | None = None
    """Pod identity for ambient cloud credentials; default: the namespace's `default`."""
    model_store: ModelStore | None = None
    scratch_size: Quantity = "20Gi"
    """Limit of the pod's temporary files."""
    env: Annotated[dict[str, str], Field(max_length=64)] = {}
    """More environment variables, such as a proxy's."""
    pod_labels: Annotated[dict[str, str], Field(max_length=32)] = {}
    pod_annotations: Annotated[dict[str, str], Field(max_length=32)] = {}
    pod_overrides: dict[str, Any] | None = None
    """Merged over the pod's spec last (strategic by key, lists replaced): for what no other field says."""


class RuntimeProfile(Resource):
    """What a runtime pod asks for: image, accelerator, placement, model store."""

    definition: ClassVar[ResourceDefinition] = ResourceDefinition(
        kind="RuntimeProfile",
        plural="runtimeprofiles",
        short_names=("rprof",),
        scope="Cluster",
        status=False,
        columns=(
            PrinterColumn("Accelerator", ".spec.accelerator.resource"),
            PrinterColumn("Count", ".spec.accelerator.count", "integer"),
            PrinterColumn("Image", ".spec.image", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    kind: Literal["RuntimeProfile"] = "RuntimeProfile"
    spec: RuntimeProfileSpec = RuntimeProfileSpec()
