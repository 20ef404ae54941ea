"""The real Job controller does with our Jobs what the planner counts on; the pods' ends are written by the test."""

import json

import pytest

from .test_job import build

pytestmark = pytest.mark.apiserver

DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}


class Attempt:
    """A child Job in a namespace of its own."""

    def __init__(self, server):
        self.server = server
        self.namespace = server.namespace("attempt")
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        made = build()
        made["metadata"]["namespace"] = self.namespace
        # Its owner does not exist here: the garbage collector would delete the Job as soon as it knows Steno's CRDs.
        del made["metadata"]["ownerReferences"]
        answer = server.request("POST", f"/apis/batch/v1/namespaces/{self.namespace}/jobs", made)
        assert answer.status == 201, answer.message

    def kubectl(self, *arguments):
        return self.server.kubectl(*arguments, namespace=self.namespace).stdout

    def pod(self) -> str:
        """Wait for a pod that has not ended and return its name."""
        pending = ("pod", "--selector=steno.dev/attempt=2", "--field-selector=status.phase=Pending")
        self.kubectl("wait", "--for=create", *pending, "--timeout=60s")
        return self.kubectl("get", *pending, "--output=jsonpath={.items[0].metadata.name}")

    def end(self, pod, exit_code, *conditions):
        state = {"terminated": {"exitCode": exit_code}}
        container = {"name": "worker", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        status = {"phase": "Failed", "containerStatuses": [container], "conditions": list(conditions)}
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", f"--patch={patch}")

    def wait(self, condition):
        self.kubectl("wait", f"--for=condition={condition}", "job/standup-2", "--timeout=60s")
        return next(item for item in self.read()["status"]["conditions"] if item["type"] == condition)

    def read(self):
        return json.loads(self.kubectl("get", "job", "standup-2", "--output=json"))

    def suspend(self, *, suspend):
        self.kubectl("patch", "job", "standup-2", "--patch", json.dumps({"spec": {"suspend": suspend}}))


@pytest.fixture
def attempt(controlplane):
    return Attempt(controlplane)


def test_a_pod_that_was_taken_away_is_replaced_for_free(attempt):
    first = attempt.pod()
    attempt.end(first, 143, DISRUPTED)
    assert attempt.pod() != first
    assert "Failed" not in str(attempt.read()["status"])


@pytest.mark.parametrize(("exit_code", "reason"), [(64, "PodFailurePolicy"), (75, "BackoffLimitExceeded")])
def test_any_other_failure_ends_the_attempt(attempt, exit_code, reason):
    attempt.end(attempt.pod(), exit_code)
    assert attempt.wait("Failed")["reason"] == reason


def test_a_suspended_attempt_loses_its_pod_and_fails_no_more_for_it(attempt):
    first = attempt.pod()
    attempt.suspend(suspend=True)
    attempt.wait("Suspended")
    attempt.kubectl("wait", "--for=delete", f"pod/{first}", "--timeout=60s")
    attempt.suspend(suspend=False)
    assert attempt.pod() != first
    assert not attempt.read()["status"].get("failed")
