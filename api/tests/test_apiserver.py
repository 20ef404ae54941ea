"""The committed CRDs, as a real kube-apiserver understands them: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from steno_api.v1alpha1 import RESOURCES
from tests.support.apiserver import CRDS, ApiServer
from tests.support.resources import create, job, ocr, path, pool, profile, session, tenant

pytestmark = pytest.mark.apiserver

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
        metadata={f"{number:02}" + "k" * 61: "값" * 512 for number in range(16)},
        model={"name": "Systran/faster-whisper-small", "computeType": "int8", "batchSize": 8},
        language="ko",
        diarization={"minSpeakers": 2, "maxSpeakers": 4, "tokenSecretRef": {"name": "hf"}},
        profileRef={"name": "gpu"},
        tenantRef={"name": "acme"},
        priority=-5,
        backoffLimit=0,
        activeDeadlineSeconds=7200,
        ttlSecondsAfterFinished=0,
        ttlPolicy="DeleteResource",
        suspend=True,
    ),
    "https source with query": job(source={"uri": "https://example.com/a.mp3?sig=a%2Fb@c"}),
    "source whose URL is in a Secret": job(source={"uriSecretRef": {"name": "talk-url"}}),
    "document whose URL is in a Secret": ocr(source={"uriSecretRef": {"name": "scan-url"}}),
    "http source with secret": job(source={"uri": "http://intranet/a.mp3", "secretRef": {"name": "web"}}),
    "claims": job(source={"uri": "pvc://media/2026/talk..final.wav"}, output={"uri": "pvc://results"}),
    "key with spaces": job(source={"uri": "s3://b/Board meeting 3.m4a"}),
    "dots in an object's key": job(source={"uri": "s3://b/../k.wav"}),
    "https ending in a slash": job(source={"uri": "https://example.com/stream/"}),
    "as many as least speakers": job(diarization={"minSpeakers": 2, "maxSpeakers": 2}),
    "diarization by default": job(diarization={}),
    "batch size auto": job(model={"batchSize": "Auto"}),
    "three-letter language": job(language="yue"),
    "longest name": job("a" * 57),
    "smallest OCRJob": ocr(),
    "OCRJob with everything": ocr(
        source={"uri": "pvc://scans/2026/contract.tiff"},
        output={"uri": "pvc://documents", "formats": ["json", "txt", "markdown", "pdf"]},
        documentID="Contract #7 (계약서)",
        languages=["ko", "en", "zh-Hant"],
        engine="RapidOCR",
        pages="1-20,25,30-,-4",
        mode="Redo",
        profileRef={"name": "cpu"},
        tenantRef={"name": "acme"},
        backoffLimit=0,
    ),
    "OCRJob of all pages from the third": ocr(pages="3-"),
    "empty session": session(),
    "session with everything": session(
        poolRef={"name": "fast"},
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
        tenantRef={"name": "acme"},
        ttlSecondsAfterFinished=0,
    ),
    "longest session name": session("a" * 63),
    "empty pool": pool(),
    "pool with everything": pool(
        "a" * 50,
        profileRef={"name": "cpu"},
        model={"name": "whisper-base", "computeType": "int8"},
        tenantRef={"name": "acme"},
        minReplicas=1,
        maxReplicas=4,
        replicas=4,
        sessionsPerReplica=64,
        scaleDownDelaySeconds=0,
        output={"secretRef": {"name": "s3"}, "endpointURL": "http://s3:7070", "region": "x"},
        allowedSources=["https://media.example.com/", "s3://meetings", "s3://meetings/calls/"],
        service={
            "type": "NodePort",
            "allowPlaintext": True,
            "annotations": {"example.com/a": "b"},
            "httpNodePort": 30081,
            "grpcNodePort": 30091,
        },
        endpoints={"websocketURL": "wss://stt.example.com/live", "grpcURL": "[::1]:443"},
    ),
    "pool with TLS beyond the cluster": pool(
        tls={"secretRef": {"name": "stt-tls"}},
        service={"type": "LoadBalancer"},
        endpoints={"grpcURL": "stt.example.com:443", "grpcTLS": True},
    ),
    "pool that publishes by its pods' identity": pool(output={}),
    "empty profile": profile(),
    "profile for a GPU": profile(
        image="localhost:5001/steno/runtime:1",
        accelerator={"resource": "nvidia.com/gpu.shared", "memory": "46068Mi"},
        resources={"requests": {"cpu": 4, "memory": "16Gi"}, "limits": {"memory": "16Gi"}},
        nodeSelector={"nvidia.com/gpu.product": "NVIDIA-L40S", "zone": ""},
        tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}, {"operator": "Exists"}],
        runtimeClassName="nvidia",
        modelStore={"persistentVolumeClaim": "models"},
        env={"HTTPS_PROXY": "http://proxy:3128", "TOKENIZERS_PARALLELISM": "1", "SSL_KEYRING": "/x"},
        hub={"downloads": "Any", "tokenSecretRef": {"name": "hugging-face"}},
        podLabels={"team": "speech"},
        podAnnotations={"example.com/note": "anything: goes"},
    ),
    "profile with a toleration of a value": profile(
        tolerations=[{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    ),
    "profile for MIG": profile(accelerator={"resource": "nvidia.com/mig-1g.10gb", "count": 1}),
    "profile with models by their digests": profile(
        modelStore={"digests": {"large-v3": "0a" * 32, "paddleocr/det": "1" * 64}}
    ),
    "profile with a host path": profile(modelStore={"hostPath": "/var/lib/models/.cache/hub"}),
    "profile with overrides": profile(
        podOverrides={"hostNetwork": True, "dnsConfig": {"options": [{"name": "ndots"}]}}
    ),
    "profile with a container of its own": profile(
        podOverrides={
            "containers": [
                {"name": "worker", "resources": {"limits": {"memory": "8Gi", "cpu": None}}, "stdin": True},
                {"name": "sidecar", "image": "proxy", "resources": None, "ports": [{"containerPort": 1}]},
            ],
            "initContainers": None,
            "hostAliases": None,
        }
    ),
    "scratch in bytes": profile(scratchSize=1073741824),
    "smallest tenant": tenant(),
    "tenant with everything": tenant(
        namespaces=["acme-meetings", "acme-archive"],
        limits={"gpus": 4, "concurrentJobs": 8, "streams": 0, "audioMinutesPerDay": 6000, "pagesPerDay": 20000},
    ),
    "tenant with a deadline": tenant(limits={"maxActiveDeadlineSeconds": 3600}),
    "longest tenant": tenant("t" * 63),
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "too much metadata": (job(metadata={str(number): "" for number in range(17)}), "must have at most 16 items"),
    "long metadata": (ocr(metadata={"tenant_id": "x" * 513}), "Too long: may not be more than 512"),
    "long name of metadata": (ocr(metadata={"k" * 64: ""}), "keys must have 1 to 63 characters"),
    "metadata that no token holds": (
        session(metadata={"a": "x" * 512, "b": "x" * 255}),
        "must have at most 768 characters: the session's token holds them",
    ),
    "no source": (job(source=None), "spec.source: Required value"),
    "no output": (job(output=None), "spec.output: Required value"),
    "no uri": (job(source={}), "give one of uri and uriSecretRef"),
    "unknown scheme": (
        job(source={"uri": "ftp://host/a.wav"}),
        "must be s3://bucket/key, https://host/path or pvc://claim/path",
    ),
    "bucket without key": (job(source={"uri": "s3://bucket"}), "must be s3://bucket/key"),
    "folder": (job(source={"uri": "s3://bucket/folder/"}), "uri names a folder: give one file"),
    "credentials in the URI": (job(source={"uri": "https://me:pw@host/a.wav"}), "credentials do not belong in a URI"),
    "two sources": (job(source={"uri": S3, "uriSecretRef": {"name": "a"}}), "give one of uri and uriSecretRef"),
    "two credentials": (
        ocr(source={"uriSecretRef": {"name": "a"}, "secretRef": {"name": "b"}}),
        "a URL in a Secret needs no other credentials",
    ),
    "way out of the claim": (job(source={"uri": "pvc://media/../../etc/passwd"}), "must not contain '.' or '..'"),
    "way out of the output's claim": (job(output={"uri": "pvc://media/a/.."}), "must not contain '.' or '..'"),
    "claim in capitals": (job(source={"uri": "pvc://Media/a.wav"}), "must be the name of a PersistentVolumeClaim"),
    "endpoint for https": (
        job(source={"uri": "https://h/a.wav", "endpointURL": "http://s3:7070"}),
        "spec.source.endpointURL: Invalid value: endpointURL is for s3:// URIs only",
    ),
    "region that is another host": (
        job(output={"uri": "s3://b", "region": "x@evil.example/"}),
        "must be a region of S3 such as eu-central-1",
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
    "channels in words": (job(audio={"channels": "Left"}), "must be Mix or Split, or a number from 1 to 64"),
    "speakers within channels": (
        job(audio={"channels": "Split"}, diarization={}),
        "with audio.channels: Split each channel is a speaker already",
    ),
    "languages in words": (job(languages=["Korean"]), "must be a BCP 47 language tag such as en, ko-KR"),
    "languages twice": (job(languages=["ko", "ko"]), 'spec.languages[1]: Duplicate value: "ko"'),
    "languages beside a language": (job(language="ko", languages=["ko", "en"]), "languages restricts what is detected"),
    "language in words": (job(language="Korean"), "must be auto or a BCP 47 language tag such as en"),
    "model out of its store": (job(model={"name": "a/../../etc"}), "must be a model's name such as large-v3"),
    "absolute model": (job(model={"name": "/models/x"}), "must be a model's name such as large-v3"),
    "compute type": (
        job(model={"computeType": "fp16"}),
        'Unsupported value: "fp16": supported values: "Auto", "float16"',
    ),
    "batch size in words": (job(model={"batchSize": "8"}), "must be Auto, or a number from 1 to 256"),
    "batch size zero": (job(model={"batchSize": 0}), "must be Auto, or a number from 1 to 256"),
    "negative backoff": (job(backoffLimit=-1), "spec.backoffLimit in body should be greater than or equal to 0"),
    "deadline in words": (job(activeDeadlineSeconds="2h"), "must be of type integer"),
    "ttl policy": (job(ttlPolicy="Delete"), 'supported values: "DeleteChildren", "DeleteResource"'),
    "suspend in words": (job(suspend="yes"), "must be of type boolean"),
    "empty meeting": (job(meetingID=""), "spec.meetingID"),
    "long tenant": (job(tenantRef={"name": "t" * 64}), "Too long: may not be more than 63 bytes"),
    "long name": (job("a" * 58), "metadata.name must be at most 57 characters: child Jobs are named <name>-<attempt>"),
    "page zero": (ocr(pages="0-3"), 'spec.pages: Invalid value: "0-3": must be pages and ranges such as 1-20,25 or 3-'),
    "pages in words": (ocr(pages="all"), "must be pages and ranges such as 1-20,25 or 3-"),
    "no pages": (ocr(pages=""), "spec.pages"),
    "language by name": (ocr(languages=["Korean"]), "must be a BCP 47 language tag such as en, ko or zh-Hant"),
    "nine languages": (ocr(languages=["en"] * 9), "must have at most 8 items"),
    "unknown engine": (ocr(engine="abbyy"), 'supported values: "Auto", "Tesseract", "RapidOCR", "PaddleOCR"'),
    "unknown mode": (ocr(mode="again"), 'supported values: "Skip", "Redo", "Force"'),
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
    "pool's name in a session": (session(poolRef={"name": "Fast_1"}), "must be a RuntimePool's name"),
    "endless pause": (session(endpointingMillis=6000), "should be less than or equal to 5000"),
    "long session name": (session("a" * 64), "metadata.name must be at most 63 characters"),
    "more than most": (pool(minReplicas=3), "minReplicas must not be greater than maxReplicas"),
    "scaled beyond": (pool(replicas=2), "replicas must not be greater than maxReplicas: raise maxReplicas first"),
    "node port of a cluster IP": (
        pool(service={"httpNodePort": 30081}),
        "httpNodePort and grpcNodePort are for type NodePort and LoadBalancer only",
    ),
    "plain text at a node's port": (
        pool(service={"type": "NodePort"}),
        "spec.service.type: Invalid value: service.type NodePort and LoadBalancer lead out of the cluster",
    ),
    "plain text on the internet": (
        pool(service={"type": "LoadBalancer", "allowPlaintext": False}),
        "set tls.secretRef, or service.allowPlaintext: true",
    ),
    "TLS without a certificate": (pool(tls={}), "spec.tls.secretRef: Required value"),
    "http for WebSockets": (pool(endpoints={"websocketURL": "https://h"}), "must be a URL such as wss://stt.example"),
    "query in the WebSocket URL": (pool(endpoints={"websocketURL": "wss://h/?a=b"}), "must be a URL such as wss://"),
    "gRPC by URL": (pool(endpoints={"grpcURL": "https://h:443"}), "must be host:port"),
    "source without a host": (pool(allowedSources=["s3:///calls"]), "must be a URL prefix such as https://media"),
    "source of another kind": (pool(allowedSources=["pvc://media/calls"]), "or s3://bucket/prefix"),
    "long pool name": (pool("a" * 51), "metadata.name must be at most 50"),
    "pool name of digits": (pool("1a"), "begin with a letter"),
    "accelerator without domain": (
        profile(accelerator={"resource": "gpu"}),
        "must be a device plugin's resource such as nvidia.com/gpu",
    ),
    "too many accelerators": (profile(accelerator={"count": 17}), "should be less than or equal to 16"),
    "accelerator twice": (
        profile(accelerator={}, resources={"limits": {"nvidia.com/gpu": 1}}),
        "spec.resources.limits: Invalid value: device plugins' resources such as nvidia.com/gpu are asked for in",
    ),
    "GPU without an accelerator": (
        profile(resources={"requests": {"cpu": 4, "nvidia.com/mig-1g.10gb": 1}}),
        "are asked for in spec.accelerator only, where Tenants count them",
    ),
    "GPU by an override": (
        profile(podOverrides={"containers": [{"name": "worker", "resources": {"limits": {"nvidia.com/gpu": 2}}}]}),
        "spec.podOverrides.containers[0].resources.limits: Invalid value: device plugins' resources",
    ),
    "quantity": (profile(resources={"limits": {"memory": "lots"}}), "spec.resources.limits.memory"),
    "two model stores": (
        profile(modelStore={"persistentVolumeClaim": "m", "hostPath": "/m"}),
        "set persistentVolumeClaim or hostPath, not both",
    ),
    "digest of a model": (profile(modelStore={"digests": {"large-v3": "0A" * 32}}), "must be a SHA-256 digest in hex"),
    "digest that is short": (profile(modelStore={"digests": {"large-v3": "0a"}}), "must be a SHA-256 digest in hex"),
    "digest of no model": (profile(modelStore={"digests": {"../x": "0a" * 32}}), "keys must be models of the store"),
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
    "token in the environment": (profile(env={"HF_TOKEN": "x"}), "name a Secret in hub.tokenSecretRef"),
    "password in the environment": (profile(env={"db_Password": "x"}), "name a Secret in hub.tokenSecretRef"),
    "key in the environment": (profile(env={"AWS_ACCESS_KEY_ID": "x"}), "name a Secret in hub.tokenSecretRef"),
    "pull policy": (profile(imagePullPolicy="Sometimes"), 'supported values: "Always", "IfNotPresent", "Never"'),
    "tenant of nothing": (tenant(namespaces=None), "spec.namespaces: Required value"),
    "tenant of no namespace": (tenant(namespaces=[]), "spec.namespaces in body should have at least 1 items"),
    "namespace twice": (tenant(namespaces=["a", "a"]), 'spec.namespaces[1]: Duplicate value: "a"'),
    "namespace with a dot": (tenant(namespaces=["a.b"]), "must be a namespace's name"),
    "negative limit": (tenant(limits={"gpus": -1}), "spec.limits.gpus in body should be greater than or equal to 0"),
    "limit in words": (tenant(limits={"streams": "many"}), "must be of type integer"),
    "no time for jobs": (tenant(limits={"maxActiveDeadlineSeconds": 0}), "should be greater than or equal to 1"),
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


def test_applying_the_same_manifest_again_changes_nothing(apiserver: ApiServer, namespace: str) -> None:
    resource = GOOD["s3 with everything"]
    for _ in range(2):
        apiserver.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(resource), namespace=namespace)
    stored = apiserver.request("GET", path(resource, namespace)).body
    assert stored["metadata"]["generation"] == 1
