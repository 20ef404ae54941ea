"""A waiting job says why."""

import pytest

from .scene import Life, child, pod

PULL = 'Back-off pulling image "runtime:1"'


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (child(), "WaitingForPod", "not created"),
        (child(warning='pods "x" is forbidden: exceeded quota: gpus'), "PodQuotaExceeded", "exceeded quota"),
        (child(warning='pods "x" is forbidden: violates PodSecurity'), "AttemptRefused", "PodSecurity"),
        (child(pod()), "WaitingForPod", "scheduler"),
        (child(pod(unschedulable="0/3 nodes: Insufficient nvidia.com/gpu")), "Unschedulable", "Insufficient"),
        (child(pod(unschedulable='persistentvolumeclaim "media" not found')), "VolumeOrSecretMissing", "media"),
        (child(pod(node="n", waiting_reason="ContainerCreating")), "ContainerCreating", "node n"),
        (
            child(pod(node="n", waiting_reason="ContainerCreating", warning='secret "s3" not found')),
            "VolumeOrSecretMissing",
            "s3",
        ),
        (
            child(pod(node="n", waiting_reason="CreateContainerConfigError", waiting_message='secret "hf" not found')),
            "VolumeOrSecretMissing",
            "hf",
        ),
        (child(pod(node="n", waiting_reason="ErrImagePull", waiting_message="no host")), "ImagePullBackOff", "no host"),
        (
            child(pod(node="n", waiting_reason="ImagePullBackOff", waiting_message=PULL)),
            "ImagePullBackOff",
            "runtime:1",
        ),
    ],
)
def test_a_waiting_job_says_why(seen, reason, words):
    life = Life()
    life.see()
    life.see(seen)
    assert life.status.queue is not None
    assert life.status.queue.reason == reason
    assert words in life.status.queue.message
    for kind in ("Running", "Ready"):
        assert (life.condition(kind).status, life.condition(kind).reason) == ("False", reason)
    assert life.status.phase == "Waiting"


def test_the_alternating_words_of_an_image_pull_write_no_status():
    life = Life()
    life.see()
    life.see(child(pod(node="n", waiting_reason="ErrImagePull", waiting_message="no such host")))
    before = life.status
    for message in (PULL, f"{PULL}: ErrImagePull: no such host"):
        life.see(child(pod(node="n", waiting_reason="ImagePullBackOff", waiting_message=message)))
        assert life.status == before


def test_the_times_of_conditions_move_only_with_their_status():
    life = Life()
    life.see()
    times = {item.type: item.last_transition_time for item in life.status.conditions}
    life.see(child(pod()), at=100)
    assert {item.type: item.last_transition_time for item in life.status.conditions} == times


def test_a_long_message_is_cut():
    life = Life()
    life.see()
    life.see(child(pod(unschedulable="x" * 5000)))
    assert len(life.condition("Running").message) == 1024
