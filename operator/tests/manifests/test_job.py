"""The child Job and its pod."""

import re
from typing import Any

import pytest

from steno_api.v1alpha1 import RuntimeProfile
from steno_api.worker.task import TranscriptionTask
from steno_operator.manifests.job import build_job
from steno_operator.manifests.labels import child_name
from steno_operator.manifests.pod_template import merge
from steno_operator.manifests.task import Attempt

from .test_task import job


def build(*, profile: dict[str, Any] | None = None, name: str = "standup", number: int = 2, **spec: Any):
    attempt = Attempt(
        tenant="acme",
        number=number,
        out_of_memory=0,
        profile=RuntimeProfile.from_wire({"metadata": {"name": "gpu"}, "spec": profile or {}}),
        runtime_image="runtime:1",
        report_url="http://operator:8080",
        pod_labels={"team": "speech"},
    )
    owner = job(**spec)
    owner = owner.model_copy(update={"metadata": owner.metadata.model_copy(update={"name": name})})
    return build_job(owner, attempt)


def pod(**arguments: Any) -> dict[str, Any]:
    return build(**arguments)["spec"]["template"]["spec"]


def worker(**arguments: Any) -> dict[str, Any]:
    [container] = pod(**arguments)["containers"]
    return container


def mounts(**arguments: Any) -> dict[str, dict[str, Any]]:
    made = pod(**arguments)
    volumes = {item["name"]: item for item in made["volumes"]}
    return {item["mountPath"]: {**item, **volumes[item["name"]]} for item in made["containers"][0]["volumeMounts"]}


def test_the_job_runs_one_pod_once_and_lets_the_operator_decide_about_the_next():
    made = build()
    assert (made["apiVersion"], made["kind"]) == ("batch/v1", "Job")
    assert made["metadata"]["name"] == "standup-2"
    assert made["metadata"]["namespace"] == "team-a"
    spec = made["spec"]
    assert (spec["completions"], spec["parallelism"], spec["backoffLimit"]) == (1, 1, 0)
    assert spec["podReplacementPolicy"] == "Failed"
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == ["Ignore", "FailJob"]
    assert spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["type"] == "DisruptionTarget"
    assert spec["podFailurePolicy"]["rules"][1]["onExitCodes"]["values"] == [64]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert "ttlSecondsAfterFinished" not in spec


def test_the_resource_owns_the_job():
    [owner] = build()["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": "steno.dev/v1alpha1",
        "kind": "TranscriptionJob",
        "name": "standup",
        "uid": "uid-1",
        "controller": True,
        "blockOwnerDeletion": True,
    }


def test_job_and_pod_carry_the_labels_they_are_found_by():
    made = build(profile={"podLabels": {"steno.dev/job": "stolen", "cost": "7"}}, tenant="acme")
    labels = made["metadata"]["labels"]
    assert labels == {
        "app.kubernetes.io/managed-by": "steno",
        "app.kubernetes.io/name": "steno-worker",
        "steno.dev/kind": "TranscriptionJob",
        "steno.dev/job": "standup",
        "steno.dev/job-uid": "uid-1",
        "steno.dev/attempt": "2",
        "steno.dev/tenant": "acme",
    }
    assert made["spec"]["template"]["metadata"]["labels"] == {**labels, "cost": "7", "team": "speech"}


def test_the_pod_meets_the_restricted_standard():
    made = pod()
    assert made["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert worker()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert made["automountServiceAccountToken"] is False
    assert made["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & made.keys()


def test_the_only_token_is_the_one_that_signs_reports():
    token = mounts()["/var/run/secrets/steno"]
    assert token["readOnly"] is True
    assert token["projected"]["sources"] == [
        {"serviceAccountToken": {"audience": "steno-operator", "expirationSeconds": 3600, "path": "token"}}
    ]


def test_what_is_written_goes_to_limited_volumes():
    assert mounts()["/scratch"]["emptyDir"] == {"sizeLimit": "20Gi"}
    assert mounts(profile={"scratchSize": "5Gi"})["/scratch"]["emptyDir"] == {"sizeLimit": "5Gi"}
    assert "sizeLimit" in mounts()["/tmp"]["emptyDir"]
    env = {item["name"]: item["value"] for item in worker()["env"]}
    assert env["HOME"] == "/scratch"
    assert all(env[name].startswith("/scratch/") for name in ("HF_HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"))


def test_the_worker_is_given_its_task_and_leaves_a_last_word():
    container = worker(number=2)
    assert (container["name"], container["image"]) == ("worker", "runtime:1")
    flag, text = container["args"]
    assert flag == "--task"
    assert TranscriptionTask.model_validate_json(text).attempt == 2
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert container["terminationMessagePolicy"] == "File"
    assert pod()["terminationGracePeriodSeconds"] == 30


def test_credentials_are_mounted_read_only():
    made = mounts(
        source={"uri": "s3://m/a.wav", "secretRef": {"name": "in"}},
        output={"uri": "s3://t", "secretRef": {"name": "out"}},
    )
    for path, secret in (("/etc/steno/source-credentials", "in"), ("/etc/steno/output-credentials", "out")):
        projected = made[path]["projected"]
        assert {source["secret"]["name"] for source in projected["sources"]} == {secret}
        assert projected["defaultMode"] == 0o440
        assert made[path]["readOnly"] is True
    assert not [path for path in mounts() if path.startswith("/etc/steno")]


@pytest.mark.parametrize(
    ("uri", "required", "one_of_the_others"),
    [
        ("s3://m/a.wav", {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, "AWS_SESSION_TOKEN"),
        ("https://files.example/a.wav", {"allowedPrefix"}, "steno-http-token"),
        ("http://files.example/a.wav", {"allowedPrefix"}, "allowPlainHTTP"),
    ],
)
def test_h6_only_keys_of_our_own_names_are_mounted(uri, required, one_of_the_others):
    """Of a ServiceAccount's token, a basic-auth Secret or a session's token nothing comes into the pod."""
    made = mounts(source={"uri": uri, "secretRef": {"name": "in"}})["/etc/steno/source-credentials"]
    first, second = (source["secret"] for source in made["projected"]["sources"])
    assert {item["key"] for item in first["items"]} == required
    assert "optional" not in first, "a Secret that does not exist (yet) is waited for"
    assert second["optional"] is True
    others = {item["key"] for item in second["items"]}
    assert one_of_the_others in others
    assert not (required | others) & {"token", "username", "password", "tls.key", ".dockerconfigjson"}


def test_claims_are_mounted_the_source_read_only():
    made = mounts(source={"uri": "pvc://media/a.wav"}, output={"uri": "pvc://media/out"})
    assert made["/mnt/source"]["persistentVolumeClaim"] == {"claimName": "media"}
    assert made["/mnt/source"]["readOnly"] is True
    assert made["/mnt/output"]["persistentVolumeClaim"] == {"claimName": "media"}
    assert "readOnly" not in made["/mnt/output"]


def test_m5_claims_that_are_only_read_are_read_only_volumes():
    """The kubelet changes the group of every file of other volumes."""
    made = mounts(source={"uri": "pvc://postgres/a.wav"}, output={"uri": "pvc://results"})
    assert made["/mnt/source"]["persistentVolumeClaim"] == {"claimName": "postgres", "readOnly": True}
    assert made["/mnt/output"]["persistentVolumeClaim"] == {"claimName": "results"}


@pytest.mark.parametrize(
    ("store", "volume"),
    [
        ({"persistentVolumeClaim": "models"}, {"persistentVolumeClaim": {"claimName": "models", "readOnly": True}}),
        ({"hostPath": "/srv/models"}, {"hostPath": {"path": "/srv/models", "type": "Directory"}}),
    ],
)
def test_the_model_store_is_mounted_read_only(store, volume):
    made = mounts(profile={"modelStore": store})["/models"]
    assert made["readOnly"] is True
    assert volume.items() <= made.items()
    assert "/models" not in mounts()


def test_the_hugging_face_token_is_a_secrets_key():
    env = {item["name"]: item for item in worker(diarization={"tokenSecretRef": {"name": "hf"}})["env"]}
    assert env["HF_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}
    assert "HF_TOKEN" not in {item["name"] for item in worker(diarization={})["env"]}


def test_the_jobs_own_token_wins_over_the_profiles_and_nothing_is_named_twice():
    profile = {"hub": {"tokenSecretRef": {"name": "for-downloads"}}, "env": {"HOME": "/mine"}}
    env = worker(diarization={"tokenSecretRef": {"name": "hf"}}, profile=profile)["env"]
    named = {item["name"]: item for item in env}
    assert len(named) == len(env)
    assert named["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hf", "key": "HF_TOKEN"}}}
    assert named["HOME"]["value"] == "/mine"
    without = {item["name"]: item for item in worker(diarization={}, profile=profile)["env"]}
    reference = {"name": "for-downloads", "key": "HF_TOKEN"}
    assert without["HF_TOKEN"] == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}}


@pytest.mark.parametrize(
    ("hub", "allowed"), [({}, "Pinned"), ({"downloads": "Off"}, "Off"), ({"downloads": "Any"}, "Any")]
)
def test_m11_the_profile_says_what_may_be_downloaded(hub, allowed):
    task = TranscriptionTask.model_validate_json(worker(profile={"hub": hub})["args"][1])
    assert task.hub_downloads == allowed


@pytest.mark.parametrize(("profile", "least"), [({}, 65536), ({"minSourceBytesPerSecond": 0}, 0)])
def test_m12_the_profile_says_how_slow_a_source_may_be(profile, least):
    task = TranscriptionTask.model_validate_json(worker(profile=profile)["args"][1])
    assert task.source.min_bytes_per_second == least


def test_l13_the_profile_says_which_models_of_the_store_are_loaded():
    digests = {"large-v3": "0a" * 32}
    profile = {"modelStore": {"persistentVolumeClaim": "models", "digests": digests}}
    task = TranscriptionTask.model_validate_json(worker(profile=profile)["args"][1])
    assert task.model_digests == digests
    image_own = TranscriptionTask.model_validate_json(worker(profile={"modelStore": {"digests": digests}})["args"][1])
    assert image_own.model_digests == digests
    assert TranscriptionTask.model_validate_json(worker()["args"][1]).model_digests == {}


def test_the_profile_says_what_the_pod_asks_for():
    profile = {
        "image": "mine:2",
        "imagePullPolicy": "Always",
        "imagePullSecrets": ["registry"],
        "accelerator": {"resource": "nvidia.com/mig-1g.10gb", "count": 2},
        "resources": {"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
        "nodeSelector": {"gpu": "l40s"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "runtimeClassName": "nvidia",
        "priorityClassName": "batch",
        "serviceAccountName": "reader",
        "env": {"HTTPS_PROXY": "http://proxy:3128", "HF_HOME": "/models/hf"},
        "podAnnotations": {"a": "b"},
    }
    made, container = pod(profile=profile), worker(profile=profile)
    assert (container["image"], container["imagePullPolicy"]) == ("mine:2", "Always")
    assert container["resources"] == {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "8Gi", "nvidia.com/mig-1g.10gb": "2"},
    }
    env = {item["name"]: item["value"] for item in container["env"]}
    assert (env["HTTPS_PROXY"], env["HF_HOME"]) == ("http://proxy:3128", "/models/hf")
    assert made["imagePullSecrets"] == [{"name": "registry"}]
    assert made["nodeSelector"] == {"gpu": "l40s"}
    assert made["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert made["runtimeClassName"] == "nvidia"
    assert made["priorityClassName"] == "batch"
    assert made["serviceAccountName"] == "reader"
    assert build(profile=profile)["spec"]["template"]["metadata"]["annotations"] == {"a": "b"}


def test_a_plain_profile_leaves_everything_else_to_the_cluster():
    assert pod().keys() == {
        "restartPolicy",
        "terminationGracePeriodSeconds",
        "automountServiceAccountToken",
        "enableServiceLinks",
        "securityContext",
        "containers",
        "volumes",
    }
    assert worker()["resources"] == {}


def test_overrides_are_merged_last_and_by_key():
    profile = {
        "podOverrides": {
            "terminationGracePeriodSeconds": 90,
            "dnsPolicy": "None",
            "enableServiceLinks": None,
            "containers": [{"name": "worker", "env": [{"name": "HOME", "value": "/x"}]}, {"name": "side"}],
            "volumes": [{"name": "more", "emptyDir": {}}],
        }
    }
    made = pod(profile=profile)
    assert (made["terminationGracePeriodSeconds"], made["dnsPolicy"]) == (90, "None")
    assert "enableServiceLinks" not in made
    container, side = made["containers"]
    assert side == {"name": "side"}
    assert container["args"][0] == "--task"
    assert {"name": "HOME", "value": "/x"} in container["env"]
    assert len(container["env"]) == len(worker()["env"])
    assert [item["name"] for item in made["volumes"]] == [*(item["name"] for item in pod()["volumes"]), "more"]


def test_other_lists_are_replaced_by_overrides():
    assert merge({"args": ["a", "b"], "x": {"y": 1}}, {"args": ["c"], "x": 2}) == {"args": ["c"], "x": 2}


def test_kubernetes_enforces_the_deadline_a_little_after_the_operator():
    assert build(activeDeadlineSeconds=100)["spec"]["activeDeadlineSeconds"] == 160
    assert "activeDeadlineSeconds" not in build()["spec"]


@pytest.mark.parametrize("name", ["a", "a" * 57, "a.b" * 19])
def test_the_longest_names_fit_kubernetes_limits(name):
    made = build(name=name, number=99999, tenant="t" * 63)
    assert len(made["metadata"]["name"]) <= 63
    for labels in (made["metadata"]["labels"], made["spec"]["template"]["metadata"]["labels"]):
        assert all(len(value) <= 63 for value in labels.values())


def test_the_childs_name_tells_the_attempt():
    assert [child_name("standup", n) for n in (1, 12)] == ["standup-1", "standup-12"]


DOTTED = "a1." * 18 + "end"
"""As long as a job's name may be: 57 characters."""


@pytest.mark.parametrize("number", [1, 100, 99_999])
def test_k17_a_long_dotted_name_and_many_attempts_make_valid_names_and_labels(number):
    assert len(DOTTED) == 57
    made = build(name=DOTTED, number=number)
    name = made["metadata"]["name"]
    assert name == child_name(DOTTED, number) == f"{DOTTED}-{number}"
    assert len(name) <= 63, "Kubernetes labels the pods with it"
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", part) for part in name.split("."))
    template = made["spec"]["template"]
    for labels in (made["metadata"]["labels"], template["metadata"]["labels"]):
        assert (labels["steno.dev/job"], labels["steno.dev/attempt"]) == (DOTTED, str(number))
        assert all(len(value) <= 63 for value in labels.values())
        assert all(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", value) for value in labels.values())
    names = [item["name"] for key in ("containers", "volumes") for item in template["spec"][key]]
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{,61}[a-z0-9])?", each) for each in names)


def test_k14_no_finalizer_keeps_a_child_whose_resource_was_deleted():
    made = build()
    for metadata in (made["metadata"], made["spec"]["template"]["metadata"]):
        assert "finalizers" not in metadata
    assert [owner["uid"] for owner in made["metadata"]["ownerReferences"]] == ["uid-1"]


def test_a_url_in_a_secret_is_a_file_of_the_worker_and_in_none_of_its_arguments():
    source = {"uriSecretRef": {"name": "talk-url"}}
    mount = mounts(source=source)["/etc/steno/source-uri"]
    assert mount["readOnly"] is True
    items = [{"key": "steno-source-uri", "path": "steno-source-uri"}]
    assert mount["projected"]["sources"] == [{"secret": {"name": "talk-url", "items": items}}]
    task = TranscriptionTask.model_validate_json(worker(source=source)["args"][1])
    assert (task.source.uri, task.source.uri_file) == ("secret://talk-url", "/etc/steno/source-uri/steno-source-uri")
    assert (task.source.path, task.source.credentials_dir) == (None, None)
    assert "/etc/steno/source-uri" not in mounts()
