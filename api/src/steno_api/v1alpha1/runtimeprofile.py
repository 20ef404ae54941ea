"""RuntimeProfile: what a runtime pod requests, defined once by the cluster's administrator."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from steno_api.model import Model
from steno_api.rules import RULES_KEY, Pattern, Rule
from steno_api.v1alpha1.common import DNS_NAME, Name, SecretRef
from steno_api.v1alpha1.meta import PrinterColumn, Resource, ResourceDefinition


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"

Quantity = Annotated[
    str,
    BeforeValidator(_number_as_text),
    Field(pattern=QUANTITY_PATTERN, max_length=32),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "maxLength": 32,
        }
    ),
]
"""A Kubernetes quantity, as a string; in YAML it may be an integer, as in `cpu: 4`."""

_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12),
    "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip


def bytes_of(quantity: str) -> Decimal:
    """Return the numeric value of a valid `Quantity`: of memory, the number of bytes."""
    number = quantity.rstrip("mkMGTi")
    return Decimal(number) * _SUFFIXES[quantity[len(number) :]]


LABEL_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"

LabelValue = Annotated[
    str,
    Field(max_length=63),
    Pattern(
        r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
        "must be a label's value: up to 63 letters, digits, '-', '_' and '.', in quotes when it reads as a number",
    ),
]

LABEL_KEYS = Rule(f"self.all(key, size(key) <= 317 && key.matches('^{LABEL_KEY}$'))", "keys must be label names")
OURS = Rule(
    "!self.exists(key, key.startsWith('steno.dev/') || key == 'app.kubernetes.io/managed-by')",
    "labels and annotations under steno.dev/, and app.kubernetes.io/managed-by, are Steno's own",
)


NOT_EXTENDED = Rule(
    "self.all(name, !name.contains('/'))",
    "device plugins' resources such as nvidia.com/gpu are asked for in spec.accelerator only, where Tenants count them",
)


def _overrides_schema() -> dict[str, Any]:
    """Return the schema of `podOverrides`: anything, but the containers' resources are validated."""
    quantity = {"x-kubernetes-int-or-string": True, "nullable": True}
    quantities = {
        "type": "object", "nullable": True, "maxProperties": 16, "additionalProperties": quantity,
        RULES_KEY: [NOT_EXTENDED.to_wire()],
    }  # fmt: skip
    resources = _some_known(
        requests={"description": "What the scheduler reserves for the container.", **quantities},
        limits={"description": "What the container may use.", **quantities},
    )
    resources |= {"description": "Kubernetes' resource lists.", "nullable": True}
    containers = {"type": "array", "nullable": True, "maxItems": 16, "items": _some_known(resources=resources)}
    return _some_known(
        containers={"description": "Merged by name: `worker` of a worker, `server` of a pool's server.", **containers},
        initContainers={"description": "Merged by name.", **containers},
    )


def _some_known(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": True, "properties": properties}


class Accelerator(Model):
    """The accelerator that each pod requests."""

    resource: Annotated[
        str,
        Field(min_length=3, max_length=128),
        Pattern(
            rf"{DNS_NAME}/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
            "must be a device plugin's resource such as nvidia.com/gpu or nvidia.com/mig-1g.10gb",
        ),
    ] = "nvidia.com/gpu"
    """Extended resource: `nvidia.com/gpu`, `nvidia.com/mig-1g.10gb`, `nvidia.com/gpu.shared`."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """Number of accelerators."""
    memory: Quantity | None = None
    """Memory of the accelerator that is available to a pod, such as `9856Mi`, for `batchSize: Auto`; absent: all of the
    device's."""

    @property
    def memory_mib(self) -> int | None:
        """`memory` in MiB, at least 1; None if it is not given."""
        return None if self.memory is None else max(1, int(bytes_of(self.memory) // 2**20))


class Resources(Model):
    """Kubernetes' resource lists, without the accelerator."""

    requests: Annotated[dict[str, Quantity], Field(max_length=8), NOT_EXTENDED] = Field(default_factory=dict[str, str])
    """What the scheduler reserves for the pod."""
    limits: Annotated[dict[str, Quantity], Field(max_length=8), NOT_EXTENDED] = Field(default_factory=dict[str, str])
    """What the pod may use."""


class Toleration(Model):
    """A Kubernetes toleration."""

    rules = (
        Rule(
            "has(self.key) || has(self.operator) && self.operator == 'Exists'",
            "operator must be Exists when key is absent",
            ".operator",
        ),
        Rule(
            "!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
            "value is for operator Equal only",
            ".value",
        ),
        Rule(
            "!has(self.tolerationSeconds) || has(self.effect) && self.effect == 'NoExecute'",
            "tolerationSeconds is for effect NoExecute only",
            ".tolerationSeconds",
        ),
    )

    key: Annotated[str, Field(min_length=1, max_length=317)] | None = None
    """The taint's key; absent: any."""
    operator: Literal["Exists", "Equal"] | None = None
    """`Exists` matches any value; absent: `Equal`, as in a pod."""
    value: Annotated[str, Field(max_length=63)] | None = None
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """The taint's effect; absent: any."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a `NoExecute` taint is tolerated; absent: without limit."""


class ModelStore(Model):
    """Where models are stored: a claim or a directory of the node; neither: the image's own `/models`."""

    rules = (
        Rule(
            "!has(self.persistentVolumeClaim) || !has(self.hostPath)",
            "set persistentVolumeClaim or hostPath, not both",
        ),
    )

    persistent_volume_claim: Name | None = None
    """A claim in the job's namespace, mounted read-only."""
    host_path: (
        Annotated[
            str,
            Field(min_length=2, max_length=1024),
            Pattern(r"(/[^/.][^/]*|/[.][^/.][^/]*)+/?", "must be an absolute path without '.' and '..'"),
        ]
        | None
    ) = None
    """A directory of the node, mounted read-only."""
    digests: Annotated[
        dict[str, Annotated[str, Field(max_length=64), Pattern(r"[0-9a-f]{64}", "must be a SHA-256 digest in hex")]],
        Field(max_length=64),
        Rule(
            "self.all(key, key.size() <= 128 && "
            "key.matches('^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$'))",
            "keys must be models of the store, such as large-v3 or paddleocr/det",
        ),
    ] = Field(default_factory=dict[str, str])
    """SHA-256 of the file `SHA256SUMS` of each model, by the model's directory in the store. If there are any, only
    these models of the store are loaded, and only if every file of them is as `SHA256SUMS` says: who may write the
    store cannot change what is recognised. Empty: the store is believed."""


NO_SECRETS = Rule(
    "self.all(key, !key.matches('(?i)(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|KEY|KEY_ID|CREDENTIAL)S?$'))",
    "tokens, passwords and keys would be readable in every pod: name a Secret in hub.tokenSecretRef, or in valueFrom of"
    " an env in podOverrides",
)
"""Of the names of environment variables."""

HubDownloads = Literal["Off", "Pinned", "Any"]

MIN_SOURCE_RATE = 64 * 1024
"""Bytes a second that a source has to deliver, unless a profile says otherwise."""


class ModelHub(Model):
    """How pods use the Hugging Face hub."""

    downloads: HubDownloads = "Pinned"
    """Models that pods may download when the model store does not have them: `Pinned` are those whose commit and
    digests Steno knows (Whisper `tiny` to `large-v3`, `turbo`; pyannote's community-1), `Any` are also others, as they
    are then, by whichever name a job gives; `Off` are none but community-1, which a job asks for with its own token."""
    token_secret_ref: SecretRef | None = None
    """Secret in the namespace of the pods, with the key `HF_TOKEN`: a token for these downloads. A job's own
    `diarization.tokenSecretRef` takes its place."""


class RuntimeProfileSpec(Model):
    """What a runtime pod requests."""

    allowed_tenants: (
        Annotated[list[Name], Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"})] | None
    ) = None
    """Tenants whose namespaces may use the profile for new work; absent: all namespaces, empty: none."""
    image: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            Pattern(r"[^\s]+", "must be an image reference such as ghcr.io/example/steno-runtime:1.0"),
        ]
        | None
    ) = None
    """Default: the operator's runtime image."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Kubernetes' `imagePullPolicy`."""
    image_pull_secrets: Annotated[
        list[Name], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = Field(default_factory=list[str])
    """Names of Secrets in the job's namespace."""
    accelerator: Accelerator | None = None
    """Absent: CPU only."""
    resources: Resources = Resources()
    """CPU, memory and ephemeral storage; device plugins' resources are requested in `accelerator`."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=32), LABEL_KEYS] = Field(
        default_factory=dict[str, str]
    )
    """Labels a node must have."""
    tolerations: Annotated[list[Toleration], Field(max_length=32)] = Field(default_factory=list[Toleration])
    """Taints the pod tolerates."""
    runtime_class_name: Name | None = None
    """RuntimeClass, e.g. `nvidia`."""
    priority_class_name: Name | None = None
    """PriorityClass of the pods."""
    service_account_name: Name | None = None
    """Pod identity for ambient cloud credentials; default: the namespace's `default`."""
    model_store: ModelStore | None = None
    """Where models are stored; absent: the image's own `/models`."""
    hub: ModelHub = ModelHub()
    """How pods use the Hugging Face hub."""
    scratch_size: Quantity = "20Gi"
    """Limit of the pod's temporary files."""
    min_source_bytes_per_second: Annotated[int, Field(ge=0, le=1_000_000_000)] = MIN_SOURCE_RATE
    """Bytes a second that a source on S3 or the web has to deliver, in each minute: a pod that fetches holds its
    accelerator. Slower ones fail as `SourceUnavailable`, which is tried again; 0: none is too slow."""
    env: Annotated[
        dict[str, Annotated[str, Field(max_length=4096)]],
        Field(max_length=64),
        Rule("self.all(key, key.matches('^[A-Za-z_][A-Za-z0-9_]*$'))", "keys must be names of environment variables"),
        NO_SECRETS,
    ] = Field(default_factory=dict[str, str])
    """Additional environment variables, such as those of a proxy. No secrets: everyone who may see pods sees them."""
    pod_labels: Annotated[dict[str, LabelValue], Field(max_length=32), LABEL_KEYS, OURS] = Field(
        default_factory=dict[str, str]
    )
    """Additional labels of the pods."""
    pod_annotations: Annotated[
        dict[str, Annotated[str, Field(max_length=16384)]], Field(max_length=32), LABEL_KEYS, OURS
    ] = Field(default_factory=dict[str, str])
    """Additional annotations of the pods."""
    pod_overrides: Annotated[dict[str, Any], WithJsonSchema(_overrides_schema())] | None = None
    """Merged over the pod's spec last (strategic by key, lists replaced): for what no other field covers."""


class RuntimeProfile(Resource):
    """What a runtime pod requests: image, accelerator, placement, model store."""

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
            PrinterColumn("Runtime-Class", ".spec.runtimeClassName", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    kind: Literal["RuntimeProfile"] = "RuntimeProfile"  # pyright: ignore[reportIncompatibleVariableOverride] - models are frozen
    spec: RuntimeProfileSpec = RuntimeProfileSpec()

    def allows(self, tenant: str) -> bool:
        """Tell whether a Tenant, or a namespace of none (an empty name), may use the profile."""
        return self.spec.allowed_tenants is None or tenant in self.spec.allowed_tenants
