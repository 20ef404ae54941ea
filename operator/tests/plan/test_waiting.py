"""A waiting job says why."""

import pytest

from .builders import JobHarness, make_child, make_pod

PULL = 'Back-off pulling image "runtime:1"'


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (make_child(), "WaitingForPod", "not created"),
        (make_child(warning='pods "x" is forbidden: exceeded quota: gpus'), "PodQuotaExceeded", "exceeded quota"),
        (make_child(warning='pods "x" is forbidden: violates PodSecurity'), "AttemptRefused", "PodSecurity"),
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
