"""A waiting job says why."""

import pytest

from .builders import JobHarness, make_child, make_pod

PULL = 'Back-off pulling image "runtime:1"'

NO_HANDLER = 'Failed to create pod sandbox: no runtime for "nvidia" is configured'
"""K5: a RuntimeClass that the node's container runtime does not know."""
LIMIT_RANGE = [
    "maximum memory usage per Container is 1Gi, but limit is 16Gi",
    "[minimum cpu usage per Container is 10, but request is 1, maximum cpu usage per Pod is 1, but limit is 4]",
    "memory max limit to request ratio per Container is 1, but provided ratio is 2.000000",
]
"""K9: what a LimitRange says."""


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (make_child(), "WaitingForPod", "not created"),
        (make_child(warning='pods "x" is forbidden: exceeded quota: gpus'), "PodQuotaExceeded", "exceeded quota"),
        (make_child(warning='pods "x" is forbidden: violates PodSecurity'), "AttemptRefused", "PodSecurity"),
        *(
            (make_child(warning=f'pods "standup-1-x" is forbidden: {words}'), "PodQuotaExceeded", "1")
            for words in LIMIT_RANGE
        ),
        (make_child(make_pod()), "WaitingForPod", "scheduler"),
        (make_child(make_pod(unschedulable="0/3 nodes: Insufficient nvidia.com/gpu")), "Unschedulable", "Insufficient"),
        (
            make_child(make_pod(unschedulable='persistentvolumeclaim "media" not found')),
            "VolumeOrSecretMissing",
            "media",
        ),
        (make_child(make_pod(node="n", waiting_reason="ContainerCreating")), "ContainerCreating", "node n"),
        (
            make_child(make_pod(node="n", waiting_reason="ContainerCreating", warning='secret "s3" not found')),
            "VolumeOrSecretMissing",
            "s3",
        ),
        (
            make_child(make_pod(node="n", warning=NO_HANDLER, warning_reason="FailedCreatePodSandBox")),
            "PodSandboxFailed",
            'no runtime for "nvidia"',
        ),
        (
            make_child(make_pod(node="n", warning="Multi-Attach error", warning_reason="FailedAttachVolume")),
            "VolumeOrSecretMissing",
            "Multi-Attach",
        ),
        (
            make_child(
                make_pod(node="n", waiting_reason="CreateContainerConfigError", waiting_message='secret "hf" not found')
            ),
            "VolumeOrSecretMissing",
            "hf",
        ),
        (
            make_child(make_pod(node="n", waiting_reason="ErrImagePull", waiting_message="no host")),
            "ImagePullBackOff",
            "no host",
        ),
        (
            make_child(make_pod(node="n", waiting_reason="ImagePullBackOff", waiting_message=PULL)),
            "ImagePullBackOff",
            "runtime:1",
        ),
    ],
)
def test_a_waiting_job_says_why(seen, reason, words):
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(seen)
    assert harness.status.queue is not None
    assert harness.status.queue.reason == reason
    assert words in harness.status.queue.message
    for kind in ("Running", "Ready"):
        assert (harness.condition(kind).status, harness.condition(kind).reason) == ("False", reason)
    assert harness.status.phase == "Waiting"


def test_the_alternating_messages_of_an_image_pull_write_no_status():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_pod(node="n", waiting_reason="ErrImagePull", waiting_message="no such host")))
    before = harness.status
    for message in (PULL, f"{PULL}: ErrImagePull: no such host"):
        harness.reconcile(make_child(make_pod(node="n", waiting_reason="ImagePullBackOff", waiting_message=message)))
        assert harness.status == before


def test_the_times_of_conditions_move_only_with_their_status():
    harness = JobHarness()
    harness.reconcile()
    times = {item.type: item.last_transition_time for item in harness.status.conditions}
    harness.reconcile(make_child(make_pod()), at=100)
    assert {item.type: item.last_transition_time for item in harness.status.conditions} == times


def test_a_long_message_is_cut():
    harness = JobHarness()
    harness.reconcile()
    harness.reconcile(make_child(make_pod(unschedulable="x" * 5000)))
    assert len(harness.condition("Running").message) == 1024
