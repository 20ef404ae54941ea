"""The committed CRDs, as a real kube-apiserver understands them: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
import yaml

from hack.testing.apiserver import CRDS, ApiServer, Response
from steno_api.v1alpha1 import RESOURCES, OCRJob, RuntimeProfile, StreamSession, TranscriptionJob
from steno_api.v1alpha1.job import MUTABLE_SPEC_FIELDS

pytestmark = pytest.mark.apiserver

API = "/apis/steno.dev/v1alpha1"


def job(name: str = "standup", **spec: Any) -> dict[str, Any]:
    """The smallest TranscriptionJob, with `spec` fields on top; `None` takes one away."""
    base = {"source": {"uri": "s3://meetings/standup.m4a"}, "output": {"uri": "s3://transcripts"}}
    return _resource("TranscriptionJob", name, base, spec)


def ocr(name: str = "contract", **spec: Any) -> dict[str, Any]:
    """The smallest OCRJob, with `spec` fields on top."""
    base = {"source": {"uri": "s3://scans/contract.pdf"}, "output": {"uri": "s3://documents"}}
    return _resource("OCRJob", name, base, spec)


def profile(name: str = "gpu", **spec: Any) -> dict[str, Any]:
    """A RuntimeProfile with only `spec`."""
    return _resource("RuntimeProfile", name, {}, spec)


def tenant(name: str = "acme", **spec: Any) -> dict[str, Any]:
    """The smallest Tenant, with `spec` fields on top."""
    return _resource("Tenant", name, {"namespaces": ["acme"]}, spec)


def session(name: str = "call", **spec: Any) -> dict[str, Any]:
    """A StreamSession with only `spec`."""
    return _resource("StreamSession", name, {}, spec)


def pool(name: str = "default", **spec: Any) -> dict[str, Any]:
    """A RuntimePool with only `spec`."""
    return _resource("RuntimePool", name, {}, spec)


def _resource(kind: str, name: str, base: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    merged = {key: deepcopy(value) for key, value in {**base, **spec}.items() if value is not None}
    return {"apiVersion": "steno.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": merged}


IMMUTABLE = "spec is immutable except suspend, priority, backoffLimit"


def path(resource: dict[str, Any], namespace: str, *, named: bool = True) -> str:
    definition = next(one.definition for one in RESOURCES if one.definition.kind == resource["kind"])
    place = (f"namespaces/{namespace}/" if definition.scope == "Namespaced" else "") + definition.plural
    return f"{API}/{place}" + (f"/{resource['metadata']['name']}" if named else "")


def create(server: ApiServer, namespace: str, resource: dict[str, Any], query: str = "") -> Response:
    return server.request("POST", path(resource, namespace, named=False) + query, resource)


def patch(server: ApiServer, namespace: str, resource: dict[str, Any], change: Any, *, sub: str = "") -> Response:
    kind = "application/json-patch+json" if isinstance(change, list) else "application/merge-patch+json"
    return server.request("PATCH", path(resource, namespace) + sub, change, content_type=kind)


S3 = "s3://b/k.wav"
GOOD: dict[str, dict[str, Any]] = {
    "smallest": job(),
    "s3 with everything": job(
        source={
            "uri": S3,
            "secretRef": {"name": "in"},
            "endpointURL": "http://s3.steno-s3.svc:7070",
            "region": "us-east-1",
        },
        output={"uri": "s3://b/some/prefix", "secretRef": {"name": "out"}, "formats": ["json", "srt", "vtt", "txt"]},
        meetingID="Standup #42 (스탠드업)",
        model={"name": "Systran/faster-whisper-small", "computeType": "int8", "batchSize": 8},
        language="ko",
        diarization={"minSpeakers": 2, "maxSpeakers": 4, "tokenSecretRef": {"name": "hf"}},
        profile="gpu",
        tenant="acme",
        priority=-5,
        backoffLimit=0,
        activeDeadlineSeconds=7200,
        ttlSecondsAfterFinished=0,
        ttlPolicy="DeleteResource",
        suspend=True,
    ),
    "https source with query": job(source={"uri": "https://example.com/a.mp3?sig=a%2Fb@c"}),
    "http source with secret": job(source={"uri": "http://intranet/a.mp3", "secretRef": {"name": "web"}}),
    "claims": job(source={"uri": "pvc://media/2026/talk..final.wav"}, output={"uri": "pvc://results"}),
    "key with spaces": job(source={"uri": "s3://b/Board meeting 3.m4a"}),
    "dots in an object's key": job(source={"uri": "s3://b/../k.wav"}),
    "https ending in a slash": job(source={"uri": "https://example.com/stream/"}),
    "as many as least speakers": job(diarization={"minSpeakers": 2, "maxSpeakers": 2}),
    "diarization by default": job(diarization={}),
    "batch size auto": job(model={"batchSize": "auto"}),
    "three-letter language": job(language="yue"),
    "longest name": job("a" * 57),
    "smallest OCRJob": ocr(),
    "OCRJob with everything": ocr(
        source={"uri": "pvc://scans/2026/contract.tiff"},
        output={"uri": "pvc://documents", "formats": ["json", "txt", "markdown", "pdf"]},
        documentID="Contract #7 (계약서)",
        languages=["ko", "en", "zh-Hant"],
        engine="rapidocr",
        pages="1-20,25,30-,-4",
        mode="redo",
        profile="cpu",
        tenant="acme",
        backoffLimit=0,
    ),
    "OCRJob of all pages from the third": ocr(pages="3-"),
    "empty session": session(),
    "session with everything": session(
        pool="fast",
        meetingID="Standup #42",
        language="ko",
        interimResults=False,
        endpointingMillis=50,
        maxDurationSeconds=60,
        idleTimeoutSeconds=60,
        output={
            "uri": "s3://t/some/prefix",
            "secretRef": {"name": "s3"},
            "endpointURL": "http://s3:7070",
            "region": "eu-west-1",
            "formats": ["json", "srt"],
        },
        tenant="acme",
        ttlSecondsAfterFinished=0,
    ),
    "longest session name": session("a" * 63),
    "empty pool": pool(),
    "pool with everything": pool(
        "a" * 50,
        profile="cpu",
        model={"name": "whisper-base", "computeType": "int8"},
        tenant="acme",
        minReplicas=1,
        maxReplicas=4,
        replicas=4,
        sessionsPerReplica=64,
        scaleDownDelaySeconds=0,
        output={"secretRef": {"name": "s3"}, "endpointURL": "http://s3:7070", "region": "x"},
        allowedSources=["https://media.example.com/"],
        service={
            "type": "NodePort",
            "annotations": {"example.com/a": "b"},
            "httpNodePort": 30081,
            "grpcNodePort": 30091,
        },
        endpoints={"websocketURL": "wss://stt.example.com/live", "grpcURL": "[::1]:443"},
    ),
    "pool that publishes by its pods' identity": pool(output={}),
    "empty profile": profile(),
    "profile for a GPU": profile(
        image="localhost:5001/steno/runtime:1",
        accelerator={"resource": "nvidia.com/gpu.shared"},
        memoryMiB=46068,
        resources={"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"memory": "16Gi"}},
        nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L40S", "zone": ""},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"}],
        runtimeClassName="nvidia",
        modelStore={"persistentVolumeClaim": "models"},
        env={"HTTPS_PROXY": "http://proxy:3128"},
        podLabels={"team": "speech"},
        podAnnotations={"example.com/note": "anything: goes"},
    ),
    "profile for MIG": profile(accelerator={"resource": "nvidia.com/mig-1g.10gb", "count": 1}),
    "profile with a host path": profile(modelStore={"hostPath": "/var/lib/models/.cache/hub"}),
    "profile with overrides": profile(
        podOverrides={"hostNetwork": True, "dnsConfig": {"options": [{"name": "ndots"}]}}
    ),
    "scratch in bytes": profile(scratchSize=1073741824),
    "smallest tenant": tenant(),
    "tenant with everything": tenant(
        namespaces=["acme-meetings", "acme-archive"],
        limits={"gpus": 4, "concurrentJobs": 8, "streams": 0, "audioMinutesPerDay": 6000, "pagesPerDay": 20000},
    ),
    "longest tenant": tenant("t" * 63),
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no source": (job(source=None), "spec.source: Required value"),
    "no output": (job(output=None), "spec.output: Required value"),
    "no uri": (job(source={}), "spec.source.uri: Required value"),
    "unknown scheme": (
        job(source={"uri": "ftp://host/a.wav"}),
        "must be s3://bucket/key, https://host/path or pvc://claim/path",
    ),
    "bucket without key": (job(source={"uri": "s3://bucket"}), "must be s3://bucket/key"),
    "folder": (job(source={"uri": "s3://bucket/folder/"}), "uri names a folder: give one file"),
    "credentials in the URI": (job(source={"uri": "https://me:pw@host/a.wav"}), "credentials do not belong in a URI"),
    "way out of the claim": (job(source={"uri": "pvc://media/../../etc/passwd"}), "must not contain '.' or '..'"),
    "way out of the output's claim": (job(output={"uri": "pvc://media/a/.."}), "must not contain '.' or '..'"),
    "claim in capitals": (job(source={"uri": "pvc://Media/a.wav"}), "must be the name of a PersistentVolumeClaim"),
    "endpoint for https": (
        job(source={"uri": "https://h/a.wav", "endpointURL": "http://s3:7070"}),
        "spec.source.endpointURL: Invalid value: endpointURL is for s3:// URIs only",
    ),
    "region for a claim": (job(output={"uri": "pvc://c", "region": "eu-west-1"}), "region is for s3:// URIs only"),
    "secret for a claim": (
        job(source={"uri": "pvc://c/a.wav", "secretRef": {"name": "s"}}),
        "secretRef is not for pvc:// URIs: the pod mounts the claim",
    ),
    "endpoint without scheme": (job(source={"uri": S3, "endpointURL": "s3.local:7070"}), "must be a URL such as"),
    "secret's name": (job(source={"uri": S3, "secretRef": {"name": "My Secret"}}), "must be a Kubernetes name"),
    "output by https": (job(output={"uri": "https://example.com/up"}), "must be s3://bucket[/prefix] or pvc://claim"),
    "unknown format": (
        job(output={"uri": "s3://b", "formats": ["docx"]}),
        'Unsupported value: "docx": supported values: "json", "srt", "vtt", "txt"',
    ),
    "format twice": (job(output={"uri": "s3://b", "formats": ["srt", "srt"]}), 'formats[1]: Duplicate value: "srt"'),
    "no format": (job(output={"uri": "s3://b", "formats": []}), "should have at least 1 items"),
    "speakers crossed": (
        job(diarization={"minSpeakers": 5, "maxSpeakers": 2}),
        "spec.diarization.minSpeakers: Invalid value: minSpeakers must not be greater than maxSpeakers",
    ),
    "no speakers": (job(diarization={"maxSpeakers": 0}), "should be greater than or equal to 1"),
    "language in words": (job(language="Korean"), "Too long: may not be more than 4 bytes"),
    "language with region": (job(language="EN"), "must be auto or an ISO 639 code such as en"),
    "model out of its store": (job(model={"name": "a/../../etc"}), "must be a model's name such as large-v3"),
    "absolute model": (job(model={"name": "/models/x"}), "must be a model's name such as large-v3"),
    "compute type": (
        job(model={"computeType": "fp16"}),
        'Unsupported value: "fp16": supported values: "auto", "float16"',
    ),
    "batch size in words": (job(model={"batchSize": "8"}), "must be auto, or a number from 1 to 256"),
    "batch size zero": (job(model={"batchSize": 0}), "must be auto, or a number from 1 to 256"),
    "negative backoff": (job(backoffLimit=-1), "spec.backoffLimit in body should be greater than or equal to 0"),
    "deadline in words": (job(activeDeadlineSeconds="2h"), "must be of type integer"),
    "ttl policy": (job(ttlPolicy="Delete"), 'supported values: "DeleteChildren", "DeleteResource"'),
    "suspend in words": (job(suspend="yes"), "must be of type boolean"),
    "empty meeting": (job(meetingID=""), "spec.meetingID"),
    "long tenant": (job(tenant="t" * 64), "Too long: may not be more than 63 bytes"),
    "long name": (job("a" * 58), "metadata.name must be at most 57 characters: child Jobs are named <name>-<attempt>"),
    "page zero": (ocr(pages="0-3"), 'spec.pages: Invalid value: "0-3": must be pages and ranges such as 1-20,25 or 3-'),
    "pages in words": (ocr(pages="all"), "must be pages and ranges such as 1-20,25 or 3-"),
    "no pages": (ocr(pages=""), "spec.pages"),
    "language by name": (ocr(languages=["Korean"]), "must be a BCP 47 language tag such as en, ko or zh-Hant"),
    "nine languages": (ocr(languages=["en"] * 9), "must have at most 8 items"),
    "unknown engine": (ocr(engine="abbyy"), 'supported values: "auto", "tesseract", "rapidocr", "paddleocr"'),
    "unknown mode": (ocr(mode="again"), 'supported values: "skip", "redo", "force"'),
    "subtitles of a page": (
        ocr(output={"uri": "s3://b", "formats": ["srt"]}),
        'Unsupported value: "srt": supported values: "json", "txt", "markdown", "pdf"',
    ),
    "long name of an OCRJob": (ocr("a" * 58), "metadata.name must be at most 57 characters"),
    "transcript into a claim": (session(output={"uri": "pvc://c/x"}), "must be s3://bucket[/prefix]"),
    "session idle for longer than it lasts": (
        session(maxDurationSeconds=30),
        "spec.idleTimeoutSeconds: Invalid value: idleTimeoutSeconds must not be greater than maxDurationSeconds",
    ),
    "pool's name in a session": (session(pool="Fast_1"), "must be a RuntimePool's name"),
    "endless pause": (session(endpointingMillis=6000), "should be less than or equal to 5000"),
    "long session name": (session("a" * 64), "metadata.name must be at most 63 characters"),
    "more than most": (pool(minReplicas=3), "minReplicas must not be greater than maxReplicas"),
    "scaled beyond": (pool(replicas=2), "replicas must not be greater than maxReplicas: raise maxReplicas first"),
    "node port of a cluster IP": (
        pool(service={"httpNodePort": 30081}),
        "httpNodePort and grpcNodePort are for type NodePort and LoadBalancer only",
    ),
    "http for WebSockets": (pool(endpoints={"websocketURL": "https://h"}), "must be a URL such as wss://stt.example"),
    "query in the WebSocket URL": (pool(endpoints={"websocketURL": "wss://h/?a=b"}), "must be a URL such as wss://"),
    "gRPC by URL": (pool(endpoints={"grpcURL": "https://h:443"}), "must be host:port"),
    "long pool name": (pool("a" * 51), "metadata.name must be at most 50"),
    "pool name of digits": (pool("1a"), "begin with a letter"),
    "accelerator without domain": (
        profile(accelerator={"resource": "gpu"}),
        "must be a device plugin's resource such as nvidia.com/gpu",
    ),
    "too many accelerators": (profile(accelerator={"count": 17}), "should be less than or equal to 16"),
    "accelerator twice": (
        profile(accelerator={}, resources={"limits": {"nvidia.com/gpu": 1}}),
        "the accelerator is asked for in spec.accelerator only: take it out of resources",
    ),
    "quantity": (profile(resources={"limits": {"memory": "lots"}}), "spec.resources.limits.memory"),
    "two model stores": (
        profile(modelStore={"persistentVolumeClaim": "m", "hostPath": "/m"}),
        "set persistentVolumeClaim or hostPath, not both",
    ),
    "relative host path": (profile(modelStore={"hostPath": "models"}), "must be an absolute path without '.' and '..'"),
    "host path upwards": (profile(modelStore={"hostPath": "/m/../etc"}), "must be an absolute path without"),
    "Equal without key": (
        profile(tolerations=[{"effect": "NoSchedule"}]),
        "operator must be Exists when key is absent",
    ),
    "Exists with value": (
        profile(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
        "value is for operator Equal only",
    ),
    "seconds without NoExecute": (
        profile(tolerations=[{"key": "a", "operator": "Exists", "tolerationSeconds": 3}]),
        "tolerationSeconds is for effect NoExecute only",
    ),
    "label that is no label": (profile(nodeSelector={"gpu": "a b"}), "must be a label's value"),
    "label as a number": (profile(nodeSelector={"gpu": 1}), "must be of type string"),
    "label key": (profile(nodeSelector={"a/b/c": "d"}), "keys must be label names"),
    "our own label": (profile(podLabels={"steno.dev/job": "x"}), "are Steno's own"),
    "environment": (profile(env={"MY-VAR": "x"}), "keys must be names of environment variables"),
    "pull policy": (profile(imagePullPolicy="Sometimes"), 'supported values: "Always", "IfNotPresent", "Never"'),
    "tenant of nothing": (tenant(namespaces=None), "spec.namespaces: Required value"),
    "tenant of no namespace": (tenant(namespaces=[]), "spec.namespaces in body should have at least 1 items"),
    "namespace twice": (tenant(namespaces=["a", "a"]), 'spec.namespaces[1]: Duplicate value: "a"'),
    "namespace with a dot": (tenant(namespaces=["a.b"]), "must be a namespace's name"),
    "negative limit": (tenant(limits={"gpus": -1}), "spec.limits.gpus in body should be greater than or equal to 0"),
    "limit in words": (tenant(limits={"streams": "many"}), "must be of type integer"),
    "too many jobs": (tenant(limits={"concurrentJobs": 1001}), "should be less than or equal to 1000"),
    "long tenant's name": (tenant("t" * 64), "metadata.name must be at most 63 characters: it is a label"),
    "blank in the image": (profile(image="steno runtime"), "must be an image reference such as"),
}


@pytest.mark.parametrize("resource", GOOD.values(), ids=GOOD.keys())
def test_accepts(apiserver: ApiServer, namespace: str, resource: dict[str, Any]) -> None:
    answer = create(apiserver, namespace, resource, "?fieldValidation=Strict&dryRun=All")
    assert answer.status == 201, answer.message
    assert answer.warnings == ()
    # What the apiserver takes, the operator can read, and it reads what was written.
    model = next(one for one in RESOURCES if one.definition.kind == resource["kind"])
    assert model.from_wire(answer.body) == model.from_wire(resource | {"metadata": answer.body["metadata"]})


@pytest.mark.parametrize(("resource", "message"), BAD.values(), ids=BAD.keys())
def test_refuses(apiserver: ApiServer, namespace: str, resource: dict[str, Any], message: str) -> None:
    answer = create(apiserver, namespace, resource, "?fieldValidation=Strict&dryRun=All")
    assert answer.status == 422, answer.body
    assert message in answer.message
    assert "matches(" not in answer.message  # people read messages, not regular expressions of ours
    assert f'{resource["kind"]}.steno.dev "{resource["metadata"]["name"]}" is invalid' in answer.message


def test_the_table_is_long_enough() -> None:
    assert len(GOOD) + len(BAD) >= 40


def test_kubectl_shows_a_refusal_in_one_line(apiserver: ApiServer, namespace: str) -> None:
    bad = json.dumps(job(diarization={"minSpeakers": 5, "maxSpeakers": 2}))
    done = apiserver.kubectl("create", "-f", "-", stdin=bad, namespace=namespace, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        'The TranscriptionJob "standup" is invalid: spec.diarization.minSpeakers: Invalid value: '
        "minSpeakers must not be greater than maxSpeakers"
    )


def test_crds_are_structural_and_established(apiserver: ApiServer) -> None:
    answer = apiserver.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
    ours = {item["metadata"]["name"]: item for item in answer.body["items"]}
    assert set(ours) == {resource.definition.crd_name for resource in RESOURCES}
    for crd in ours.values():
        conditions = {condition["type"]: condition["status"] for condition in crd["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}  # NonStructuralSchema is absent
        assert crd["metadata"]["labels"]["app.kubernetes.io/part-of"] == "steno"


def test_the_apiserver_keeps_all_of_a_committed_crd(apiserver: ApiServer) -> None:
    for file in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
        stored = apiserver.request("GET", where).body
        assert stored["spec"]["versions"] == crd["spec"]["versions"]


def test_defaults_are_filled_in_and_nothing_is_invented(apiserver: ApiServer, namespace: str) -> None:
    spec = create(apiserver, namespace, job()).body
    assert "status" not in spec
    assert spec["spec"] == {
        "source": {"uri": "s3://meetings/standup.m4a"},
        "output": {"uri": "s3://transcripts", "formats": ["json"]},
        "model": {"name": "large-v3", "computeType": "auto", "batchSize": "auto"},
        "language": "auto",
        "profile": "gpu",
        "priority": 0,
        "backoffLimit": 2,
        "ttlPolicy": "DeleteChildren",
        "suspend": False,
    }
    partly = create(apiserver, namespace, job("partly", model={"name": "base"})).body["spec"]["model"]
    assert partly == {"name": "base", "computeType": "auto", "batchSize": "auto"}
    bare = {"apiVersion": "steno.dev/v1alpha1", "kind": "RuntimeProfile", "metadata": {"name": "bare"}}
    answer = create(apiserver, namespace, bare, "?dryRun=All")
    assert answer.body["spec"] == {"imagePullPolicy": "IfNotPresent", "scratchSize": "20Gi"}
    gpu = create(apiserver, namespace, profile(accelerator={}), "?dryRun=All")
    assert gpu.body["spec"]["accelerator"] == {"resource": "nvidia.com/gpu", "count": 1}


def test_unknown_fields_are_refused_or_dropped_with_a_warning(apiserver: ApiServer, namespace: str) -> None:
    typo = job(diarisation={"maxSpeakers": 2})
    strict = create(apiserver, namespace, typo, "?fieldValidation=Strict")
    assert strict.status == 400
    assert 'unknown field "spec.diarisation"' in strict.message
    warned = create(apiserver, namespace, typo, "?fieldValidation=Warn")
    assert warned.status == 201
    assert warned.warnings == ('unknown field "spec.diarisation"',)
    assert "diarisation" not in warned.body["spec"]


def test_pod_overrides_keep_what_they_say(apiserver: ApiServer, namespace: str) -> None:
    overrides = {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["s3"]}], "schedulerName": "gang"}
    answer = create(apiserver, namespace, profile(podOverrides=overrides), "?dryRun=All&fieldValidation=Strict")
    assert answer.body["spec"]["podOverrides"] == overrides
    assert RuntimeProfile.from_wire(answer.body).spec.pod_overrides == overrides


IMMUTABLE_CHANGES: dict[str, Any] = {
    "another source": {"source": {"uri": "s3://meetings/other.m4a"}},
    "another secret": {"source": {"secretRef": {"name": "other"}}},
    "another output": {"output": {"uri": "s3://elsewhere"}},
    "another format": {"output": {"formats": ["json", "srt"]}},
    "another model": {"model": {"name": "base"}},
    "another batch size": {"model": {"batchSize": 4}},
    "another language": {"language": "en"},
    "another profile": {"profile": "cpu"},
    "tenant added": {"tenant": "acme"},
    "meeting removed": {"meetingID": None},
    "meeting changed": {"meetingID": "other"},
    "diarization removed": {"diarization": None},
    "speakers removed": {"diarization": {"maxSpeakers": None}},
    "speakers added": {"diarization": {"minSpeakers": 1}},
    "language removed": {"language": None},
}


@pytest.fixture(scope="module")
def standing(apiserver: ApiServer) -> tuple[str, dict[str, Any]]:
    namespace = apiserver.namespace()
    resource = job(meetingID="standup-42", language="ko", diarization={"maxSpeakers": 4}, ttlSecondsAfterFinished=60)
    assert create(apiserver, namespace, resource).status == 201
    return namespace, resource


@pytest.mark.parametrize("change", IMMUTABLE_CHANGES.values(), ids=IMMUTABLE_CHANGES.keys())
def test_what_a_job_makes_cannot_change(
    apiserver: ApiServer, standing: tuple[str, dict[str, Any]], change: Any
) -> None:
    answer = patch(apiserver, *standing, {"spec": change})
    assert answer.status == 422, answer.body
    assert IMMUTABLE in answer.message
    assert "delete the job and create it again" in answer.message
    assert "self." not in answer.message


MUTABLE_CHANGES: dict[str, list[Any]] = {
    "suspend": [True, False],
    "priority": [10],
    "backoffLimit": [5],
    "activeDeadlineSeconds": [3600, 60, None],
    "ttlSecondsAfterFinished": [None, 5],
    "ttlPolicy": ["DeleteResource"],
}


def test_how_a_job_runs_can_change(apiserver: ApiServer, namespace: str) -> None:
    assert set(MUTABLE_CHANGES) == set(MUTABLE_SPEC_FIELDS)
    resource = job(ttlSecondsAfterFinished=60)
    generation = create(apiserver, namespace, resource).body["metadata"]["generation"]
    for name, values in MUTABLE_CHANGES.items():
        for value in values:
            answer = patch(apiserver, namespace, resource, {"spec": {name: value}})
            assert answer.status == 200, answer.message
            assert answer.body["spec"].get(name) == value
            assert answer.body["metadata"]["generation"] > generation
            generation = answer.body["metadata"]["generation"]


def test_applying_the_same_manifest_again_changes_nothing(apiserver: ApiServer, namespace: str) -> None:
    resource = GOOD["s3 with everything"]
    texts = [json.dumps(resource), json.dumps(resource)]
    for text in texts:
        apiserver.kubectl("apply", "--server-side", "-f", "-", stdin=text, namespace=namespace)
    stored = apiserver.request("GET", path(resource, namespace)).body
    assert stored["metadata"]["generation"] == 1


STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "phase": "Running",
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Decoding",
            "message": "chunk 31 of 74",
            "lastTransitionTime": "2026-01-02T03:04:05.123456Z",
            "observedGeneration": 1,
        }
    ],
    "attempt": 2,
    "failures": 1,
    "outOfMemory": 0,
    "startTime": "2026-01-02T03:04:00Z",
    "nodeName": "worker-1",
    "progress": {"stage": "Decoding", "percent": 42, "audioSeconds": 1510.5, "etaSeconds": 38},
    "summary": {
        "duration": 3600.5, "language": "ko", "segments": 812, "speakers": 4, "words": 9000, "confidence": 0.91,
        "processingSeconds": 253.5, "speed": 14.2, "model": "large-v3", "device": "cuda",
    },
    "results": {
        "manifest": "s3://t/manifest.json",
        "artifacts": [{"format": "json", "uri": "s3://t/transcript.json", "sha256": "0" * 64, "bytes": 8_000_000_000}],
    },
    "lastFailure": {"attempt": 1, "reason": "OutOfMemory", "message": "m", "time": "2026-01-02T03:04:05Z"},
}  # fmt: skip


def test_status_is_only_written_through_its_subresource(apiserver: ApiServer, namespace: str) -> None:
    resource = job()
    created = create(apiserver, namespace, {**resource, "status": STATUS})
    assert "status" not in created.body
    assert "status" not in patch(apiserver, namespace, resource, {"status": STATUS}).body
    written = patch(apiserver, namespace, resource, {"status": STATUS, "spec": {"suspend": True}}, sub="/status")
    assert written.status == 200, written.message
    assert written.body["status"] == STATUS
    assert written.body["spec"]["suspend"] is False
    assert written.body["metadata"]["generation"] == 1
    # A change of the spec leaves the status alone, and the whole comes through the models as it is.
    after = patch(apiserver, namespace, resource, {"spec": {"suspend": True}})
    assert after.body["status"] == STATUS
    assert TranscriptionJob.from_wire(after.body).to_wire()["status"] == STATUS


BAD_STATUS: dict[str, tuple[Any, str]] = {
    "phase": ({"phase": "Sleeping"}, "status.phase: Unsupported value"),
    "two of a condition's type": (
        {"conditions": [STATUS["conditions"][0], {**STATUS["conditions"][0], "reason": "Other"}]},
        "status.conditions[1]: Duplicate value",
    ),
    "time": ({"startTime": "yesterday"}, "status.startTime"),
    "percent": ({"progress": {"stage": "Decoding", "percent": 101}}, "should be less than or equal to 100"),
}


@pytest.mark.parametrize(("status", "message"), BAD_STATUS.values(), ids=BAD_STATUS.keys())
def test_refuses_a_status(
    apiserver: ApiServer, standing: tuple[str, dict[str, Any]], status: Any, message: str
) -> None:
    answer = patch(apiserver, *standing, {"status": status}, sub="/status")
    assert answer.status == 422, answer.body
    assert message in answer.message


def test_what_kubectl_get_shows(apiserver: ApiServer, namespace: str) -> None:
    resource = job()
    create(apiserver, namespace, resource)
    patch(apiserver, namespace, resource, {"status": STATUS}, sub="/status")

    def rows(*words: str) -> list[list[str]]:
        lines = apiserver.kubectl("get", *words, namespace=namespace).stdout.splitlines()
        return [line.split() for line in lines]

    header, row = rows("tj")
    assert header == ["NAME", "PHASE", "PROGRESS", "DURATION", "SPEED", "MODEL", "AGE"]
    assert row[:-1] == ["standup", "Running", "42", "3600.5", "14.2", "large-v3"]
    header, row = rows("tj", "-o", "wide")
    assert header == [
        "NAME", "PHASE", "PROGRESS", "DURATION", "SPEED", "MODEL",
        "LANGUAGE", "SPEAKERS", "ATTEMPT", "REASON", "NODE", "AGE",
    ]  # fmt: skip
    assert row[6:-1] == ["ko", "4", "2", "Decoding", "worker-1"]
    assert any("transcriptionjob.steno.dev/standup" in line for line in rows("steno", "-o", "name"))
    assert rows("tj", "--field-selector=status.phase=Running", "-o", "name") == [["transcriptionjob.steno.dev/standup"]]
    assert rows("tj", "--field-selector=status.phase=Failed", "-o", "name") == []


def test_the_pages_of_an_ocr_job_cannot_change(apiserver: ApiServer, namespace: str) -> None:
    resource = ocr(pages="1-3", languages=["ko"])
    assert create(apiserver, namespace, resource).status == 201
    for change in ({"pages": None}, {"pages": "4"}, {"languages": ["en"]}, {"engine": "tesseract"}, {"mode": "force"}):
        answer = patch(apiserver, namespace, resource, {"spec": change})
        assert answer.status == 422, answer.body
        assert IMMUTABLE in answer.message
    assert patch(apiserver, namespace, resource, {"spec": {"suspend": True}}).status == 200


OCR_STATUS: dict[str, Any] = {
    "phase": "Succeeded",
    "attempt": 1,
    "nodeName": "worker-1",
    "progress": {"stage": "Recognizing", "percent": 99, "pages": 3},
    "summary": {
        "pages": 3, "failedPages": 1, "characters": 4120, "confidence": 0.94,
        "engines": {"tesseract": 1, "embedded": 1}, "processingSeconds": 12.5, "pagesPerSecond": 0.24,
    },
}  # fmt: skip


def test_what_kubectl_get_shows_of_ocr_jobs(apiserver: ApiServer, namespace: str) -> None:
    resource = ocr()
    create(apiserver, namespace, resource)
    written = patch(apiserver, namespace, resource, {"status": OCR_STATUS}, sub="/status")
    assert written.body["status"] == OCR_STATUS
    assert OCRJob.from_wire(written.body).status.summary.engines == {"tesseract": 1, "embedded": 1}
    lines = apiserver.kubectl("get", "oj", "-o", "wide", namespace=namespace).stdout.splitlines()
    header, row = (line.split()[:-1] for line in lines)
    assert header == [
        "NAME",
        "PHASE",
        "PROGRESS",
        "PAGES",
        "ENGINE",
        "FAILED",
        "CONFIDENCE",
        "ATTEMPT",
        "REASON",
        "NODE",
    ]
    assert row == ["contract", "Succeeded", "99", "3", "auto", "1", "0.94", "1", "worker-1"]
    assert any("ocrjob.steno.dev/contract" in line for line in apiserver.kubectl(
        "get", "steno", "-o", "name", namespace=namespace
    ).stdout.splitlines())  # fmt: skip


def test_a_session_cannot_change(apiserver: ApiServer, namespace: str) -> None:
    resource = session(meetingID="standup")
    assert create(apiserver, namespace, resource).status == 201
    for change in ({"pool": "other"}, {"meetingID": None}, {"output": {"uri": "s3://b"}}, {"maxDurationSeconds": 90}):
        answer = patch(apiserver, namespace, resource, {"spec": change})
        assert answer.status == 422, answer.body
        assert "spec is immutable: delete the session and create another" in answer.message
    assert patch(apiserver, namespace, resource, {"metadata": {"labels": {"a": "b"}}}).status == 200


def test_what_kubectl_get_shows_of_sessions(apiserver: ApiServer, namespace: str) -> None:
    resource = session()
    stored = create(apiserver, namespace, resource).body["spec"]
    assert stored == {
        "pool": "default",
        "language": "auto",
        "interimResults": True,
        "endpointingMillis": 300,
        "maxDurationSeconds": 7200,
        "idleTimeoutSeconds": 60,
    }
    status = {
        "phase": "Active",
        "endpoints": [{"protocol": "websocket", "url": "ws://h/stt/realtime?session=a/call"}],
        "tokenSecretName": "call-token-01234567",
        "tokenExpirationTime": "2026-01-02T03:04:05Z",
        "tokenKeyID": "0123456789abcdef",
        "figures": {"audioSeconds": 12.5, "segments": 3, "finalLatencyMillis": 410},
    }
    written = patch(apiserver, namespace, resource, {"status": status}, sub="/status")
    assert written.body["status"] == status, "nothing of it is dropped"
    read = StreamSession.from_wire(written.body).status
    assert read.figures is not None
    assert read.figures.final_latency_millis == 410
    lines = apiserver.kubectl("get", "ss", "-o", "wide", namespace=namespace).stdout.splitlines()
    header, row = (line.split() for line in lines)
    assert header == ["NAME", "PHASE", "AUDIO", "FINAL-LATENCY", "POOL", "URL", "REASON", "AGE"]
    assert row[:6] == ["call", "Active", "12.5", "410", "default", "ws://h/stt/realtime?session=a/call"]


def test_a_pool_can_be_scaled(apiserver: ApiServer, namespace: str) -> None:
    resource = pool(maxReplicas=3)
    create(apiserver, namespace, resource)
    status = {"replicas": 1, "readyReplicas": 1, "sessions": 2, "phase": "Ready", "selector": "steno.dev/pool-uid=1"}
    assert patch(apiserver, namespace, resource, {"status": status}, sub="/status").status == 200
    apiserver.kubectl("scale", "rp/default", "--replicas=2", namespace=namespace)
    assert apiserver.request("GET", path(resource, namespace)).body["spec"]["replicas"] == 2
    scale = apiserver.request("GET", path(resource, namespace) + "/scale").body
    assert scale["status"] == {"replicas": 1, "selector": "steno.dev/pool-uid=1"}
    refused = apiserver.kubectl("scale", "rp/default", "--replicas=4", namespace=namespace, check=False)
    assert "replicas must not be greater than maxReplicas: raise maxReplicas first" in refused.stderr
    header, row = (line.split() for line in apiserver.kubectl("get", "rp", namespace=namespace).stdout.splitlines())
    assert header == ["NAME", "PHASE", "READY", "REPLICAS", "SESSIONS", "MODEL", "AGE"]
    assert row[:-1] == ["default", "Ready", "1", "1", "2", "large-v3"]


def test_what_kubectl_get_shows_of_profiles(apiserver: ApiServer, namespace: str) -> None:
    resource = profile("shown", accelerator={"count": 2}, image="steno/runtime:1")
    create(apiserver, namespace, resource)
    lines = apiserver.kubectl("get", "rprof", "shown").stdout.splitlines()
    assert [line.split()[:-1] for line in lines] == [["NAME", "ACCELERATOR", "COUNT"], ["shown", "nvidia.com/gpu", "2"]]
    apiserver.request("DELETE", path(resource, namespace))


def test_kubectl_explains_every_field(apiserver: ApiServer) -> None:
    for resource in RESOURCES:
        text = apiserver.kubectl("explain", f"{resource.definition.plural}.spec").stdout
        assert "<no description>" not in text, text
        if resource.definition.status:
            status = apiserver.kubectl("explain", f"{resource.definition.plural}.status").stdout
            assert "<no description>" not in status, status


def test_finished_jobs_of_an_older_schema_stay_writable(apiserver: ApiServer, namespace: str) -> None:
    """A stored object that a newer rule refuses keeps working: its status and its metadata can still be written."""
    crd = yaml.safe_load((CRDS / "transcriptionjobs.yaml").read_text())
    older = deepcopy(crd)
    version = older["spec"]["versions"][0]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["language"].pop("x-kubernetes-validations")
    where = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd['metadata']['name']}"
    with_older = apiserver.request("PATCH", where, {"spec": older["spec"]}, content_type="application/merge-patch+json")
    assert with_older.status == 200, with_older.message
    resource = job("old", language="KO")
    try:
        # The schema takes effect a moment after the answer: the apiserver's own admission says when.
        while create(apiserver, namespace, resource).status == 422:
            pass
    finally:
        apiserver.apply_crds()
    while create(apiserver, namespace, job("probe", language="KO"), "?dryRun=All").status != 422:
        pass
    assert patch(apiserver, namespace, resource, {"status": {"phase": "Failed"}}, sub="/status").status == 200
    assert patch(apiserver, namespace, resource, {"metadata": {"labels": {"a": "b"}}}).status == 200
    assert patch(apiserver, namespace, resource, {"spec": {"suspend": True}}).status == 200
