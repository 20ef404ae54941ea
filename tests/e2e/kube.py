"""The cluster as a test sees it: apply, watch until, kubectl; and the store the results go to."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from kubernetes import client, config, watch

from hack import tools
from hack.cluster import info

GROUP, VERSION, PLURAL = "steno.dev", "v1alpha1", "transcriptionjobs"
SOURCES, RESULTS = "sources", "results"
SECRET = "s3-credentials"
BASE = {"name": "whisper-base"}


def condition(job: Mapping[str, Any], type_: str) -> dict[str, Any]:
    """The named condition of a job, or an empty one."""
    found = [c for c in job.get("status", {}).get("conditions", []) if c["type"] == type_]
    return found[0] if found else {}


def is_true(job: Mapping[str, Any], type_: str) -> bool:
    return condition(job, type_).get("status") == "True"


def finished(job: Mapping[str, Any]) -> bool:
    return is_true(job, "Complete") or is_true(job, "Failed")


def decoding(job: Mapping[str, Any]) -> bool:
    """The worker said that it decodes: in the middle of its work."""
    return job.get("status", {}).get("progress", {}).get("stage") == "Decoding"


def over(child: Any) -> bool:
    """Whether Kubernetes counts a Job as ended."""
    return any(c.type in ("Complete", "Failed") and c.status == "True" for c in child.status.conditions or [])


@dataclass
class Kube:
    """One cluster, one namespace of a test."""

    cluster: str
    namespace: str
    plural: str = PLURAL
    """The kind that the methods below are about: `transcriptionjobs` or `ocrjobs`."""
    core: client.CoreV1Api = field(init=False)
    batch: client.BatchV1Api = field(init=False)
    custom: client.CustomObjectsApi = field(init=False)

    def __post_init__(self) -> None:
        self.info = info(self.cluster)
        api = config.new_client_from_config(str(self.info.kubeconfig))
        self.core, self.batch, self.custom = client.CoreV1Api(api), client.BatchV1Api(api), client.CustomObjectsApi(api)

    @property
    def node(self) -> str:
        """The node's container."""
        return f"{self.cluster}-control-plane"

    def command(self, *words: str, namespace: str = "") -> list[str]:
        """The command line of kubectl, in this namespace unless another is given."""
        where = namespace or self.namespace
        return [str(tools.path("kubectl")), "--kubeconfig", str(self.info.kubeconfig), "-n", where, *words]

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """What kubectl prints, in this namespace."""
        done = subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def on_node(self, *words: str) -> None:
        """Run a command on the node."""
        subprocess.run(["docker", "exec", self.node, *words], check=True, capture_output=True, timeout=60)

    def transcribe(self, name: str, source: str, **spec: Any) -> dict[str, Any]:
        """Applies a TranscriptionJob; `source` is a key of the sources' bucket or a whole URI."""
        return self.create(self.job(name, source, **spec))

    def recognise(self, name: str, source: str, **spec: Any) -> dict[str, Any]:
        """Applies an OCRJob; from now on this is about OCRJobs."""
        self.plural = "ocrjobs"
        return self.create(self.manifest("OCRJob", name, source, **spec))

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create a job from its manifest."""
        return self.custom.create_namespaced_custom_object(GROUP, VERSION, self.namespace, self.plural, body)

    def job(self, name: str, source: str, **spec: Any) -> dict[str, Any]:
        """A TranscriptionJob's manifest."""
        return self.manifest("TranscriptionJob", name, source, **{"model": BASE, **spec})

    def manifest(self, kind: str, name: str, source: str, **spec: Any) -> dict[str, Any]:
        """A job's manifest: JSON to the results' bucket, unless `spec` says otherwise."""
        src: dict[str, Any] = {"uri": source if "://" in source else f"s3://{SOURCES}/{source}"}
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "source": src | (self.s3() if src["uri"].startswith("s3://") else {}),
                "output": {"uri": f"s3://{RESULTS}", "formats": ["json"], **self.s3()},
                "profileRef": {"name": "gpu"},
                **spec,
            },
        }

    def s3(self) -> dict[str, Any]:
        """How a source or output reaches the store."""
        return {"secretRef": {"name": SECRET}, "endpointURL": self.info.s3_endpoint_in_cluster}

    def get(self, name: str) -> dict[str, Any]:
        return self.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, self.plural, name)

    def patch(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        return self.custom.patch_namespaced_custom_object(
            GROUP, VERSION, self.namespace, self.plural, name, {"spec": dict(spec)}
        )

    def until(
        self, name: str, reached: Callable[[dict[str, Any]], bool], *, timeout: float = 180, what: str = ""
    ) -> dict[str, Any]:
        """Watches a job until `reached`; fails with the job's last state when it is not in time."""
        deadline = time.monotonic() + timeout
        job: dict[str, Any] = {}
        while (left := deadline - time.monotonic()) > 0:
            stream = watch.Watch()
            try:
                for event in stream.stream(
                    self.custom.list_namespaced_custom_object,
                    GROUP, VERSION, self.namespace, self.plural,
                    field_selector=f"metadata.name={name}",
                    timeout_seconds=max(1, int(left)),
                ):  # fmt: skip
                    job = event["object"]
                    if event["type"] in ("ADDED", "MODIFIED") and reached(job):
                        return job
            except (client.ApiException, OSError):
                continue  # the apiserver may be the victim of a test: watch again
            finally:
                stream.stop()
        pods = self.kubectl("get", "pods,jobs,events", "-o", "wide", check=False)
        status = json.dumps(job.get("status"), indent=1)
        raise AssertionError(f"{name}: not {what or reached.__name__} in {timeout:.0f} s: {status}\n{pods}")

    def done(self, name: str, timeout: float = 240) -> dict[str, Any]:
        """The job once it ended, either way."""
        return self.until(name, finished, timeout=timeout)

    def complete(self, name: str, timeout: float = 240) -> dict[str, Any]:
        """The job once it is complete; fails at once when it failed."""
        job = self.done(name, timeout)
        assert is_true(job, "Complete"), condition(job, "Failed")
        return job

    def children(self, name: str) -> list[Any]:
        """The child Jobs."""
        return self.batch.list_namespaced_job(self.namespace, label_selector=f"steno.dev/job={name}").items

    def children_end(self, name: str, timeout: int = 60) -> None:
        """Watches the child Jobs until none is live; the job may be complete a moment before its child is counted."""
        live: set[str] = {child.metadata.name for child in self.children(name) if not over(child)}
        if not live:
            return
        stream = watch.Watch()
        for event in stream.stream(
            self.batch.list_namespaced_job,
            self.namespace,
            label_selector=f"steno.dev/job={name}",
            timeout_seconds=timeout,
        ):
            if event["type"] == "DELETED" or over(event["object"]):
                live.discard(event["object"].metadata.name)
            if not live:
                stream.stop()
        assert not live, f"still live: {live}"

    def pods(self, name: str) -> list[Any]:
        return self.core.list_namespaced_pod(self.namespace, label_selector=f"steno.dev/job={name}").items


@dataclass(frozen=True)
class Store:
    """The S3 server, from the host."""

    endpoint: str
    access_key: str
    secret_key: str
    inside: str
    """The endpoint as pods see it."""

    def client(self, endpoint: str | None = None) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )

    def secret(self, name: str, **changed: str) -> dict[str, Any]:
        """The manifest of a Secret with credentials that are for this server as pods see it."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        scope = {"allowedPrefix": self.inside, "allowPlainHTTP": "true"}
        return {"metadata": {"name": name}, "stringData": keys | scope | changed}

    def put(self, key: str, file: Path) -> None:
        self.client().upload_file(str(file), SOURCES, key)

    def get(self, uri: str) -> bytes:
        """The bytes at an `s3://` URI."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self.client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def keys(self, prefix: str) -> list[str]:
        """Every key of the results' bucket under a prefix."""
        listed = self.client().list_objects_v2(Bucket=RESULTS, Prefix=prefix)
        return sorted(item["Key"] for item in listed.get("Contents", []))

    def results(self, prefix: str) -> list[str]:
        """Like `keys`, without the proofs that lie beside the results."""
        return [key for key in self.keys(prefix) if not key.endswith(".proof")]

    def presigned(self, key: str, bucket: str = SOURCES) -> str:
        """An http:// URL of an object, as pods reach it."""
        return self.client(self.inside).generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})

    def published(self, job: Mapping[str, Any]) -> dict[str, bytes]:
        """The artifacts of a complete job by format, each checked against its digests in status and manifest."""
        results = job["status"]["results"]
        manifest = json.loads(self.get(results["manifest"]))
        listed = {a["format"]: a for a in manifest["artifacts"]}
        found: dict[str, bytes] = {}
        for artifact in results["artifacts"]:
            data = self.get(artifact["uri"])
            digest = hashlib.sha256(data).hexdigest()
            assert digest == artifact["sha256"] == listed[artifact["format"]]["sha256"]
            assert len(data) == artifact["bytes"] == listed[artifact["format"]]["bytes"]
            found[artifact["format"]] = data
        assert set(found) == set(listed) == set(job["spec"]["output"]["formats"])
        return found

    def document(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON document of a complete job."""
        return json.loads(self.published(job)["json"])

    def transcript(self, job: Mapping[str, Any]) -> dict[str, Any]:
        return self.document(job)


def cluster_name() -> str:
    """The cluster under test; `make e2e` sets it."""
    return os.environ.get("STENO_E2E_CLUSTER", "steno-e2e")
