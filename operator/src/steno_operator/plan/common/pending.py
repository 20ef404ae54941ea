"""Why a started attempt or server does not run yet, in words a user can act on."""

from __future__ import annotations

import re

from steno_api.credentials import ALLOWED_PREFIX, HTTP_PASSWORD, HTTP_TOKEN, HTTP_USERNAME, SOURCE_URI
from steno_api.s3 import CREDENTIAL_KEYS
from steno_api.v1alpha1.common import QueueStatus
from steno_api.v1alpha1.reasons import Reason
from steno_operator.plan.common.pods import FAILED_SANDBOX, PULL_FAILURES, ObservedPod, claim_missing

_BACK_OFF = re.compile(r'^Back-off pulling image "(?P<image>[^"]*)"(: (ErrImagePull: )?(?P<why>.+))?$', re.DOTALL)

_LIMIT_RANGE = re.compile(r"(m(axi|ini)mum \S+ usage|\S+ max limit to request ratio) per (Container|Pod) is ")
"""The words of Kubernetes' LimitRanger, which does not name itself."""

_MISSING_KEY = "references non-existent secret key"
"""The kubelet's words; the name of the key follows."""
_MISSING_KEY_REMEDY = (
    ". Add this key to the Secret that secretRef names, or name one with credentials for Steno: s3 needs "
    f"{' and '.join(CREDENTIAL_KEYS)}, https needs {ALLOWED_PREFIX} and {HTTP_TOKEN}, or {HTTP_USERNAME} and "
    f"{HTTP_PASSWORD}; that of uriSecretRef needs {SOURCE_URI}."
)

WAITING_FOR_POD = QueueStatus(reason=Reason.WAITING_FOR_POD, message="Kubernetes has not created the worker's pod yet.")


def explain_refusal(message: str) -> QueueStatus:
    """Return why the API server refused the child Job or its pod."""
    quota = "quota" in message.lower() or "limitrange" in message.lower() or _LIMIT_RANGE.search(message)
    return QueueStatus(reason=Reason.POD_QUOTA if quota else Reason.ATTEMPT_REFUSED, message=message)


def explain_pod(pod: ObservedPod, before: QueueStatus | None) -> QueueStatus:
    """Return why a pod that has not ended does not run; `before` as in `explain`."""
    if pod.waiting_reason in PULL_FAILURES:
        return QueueStatus(reason=Reason.IMAGE_PULL, message=_pull_message(pod, before))
    if pod.waiting_reason == "CreateContainerConfigError":
        return QueueStatus(reason=Reason.VOLUME_OR_SECRET, message=pod.waiting_message)
    if pod.warning:
        sandbox = pod.warning_reason == FAILED_SANDBOX
        remedy = _MISSING_KEY_REMEDY if _MISSING_KEY in pod.warning else ""
        reason = Reason.POD_SANDBOX if sandbox else Reason.VOLUME_OR_SECRET
        return QueueStatus(reason=reason, message=f"{pod.warning}{remedy}")
    if pod.node is None:
        return _unscheduled(pod)
    message = f"Pod {pod.name} is on node {pod.node} and waits for its image and volumes."
    if pod.waiting_reason not in (None, "ContainerCreating", "PodInitializing"):
        message = f"{pod.waiting_reason}: {pod.waiting_message}"
    return QueueStatus(reason=Reason.CONTAINER_CREATING, message=message)


def _unscheduled(pod: ObservedPod) -> QueueStatus:
    if not pod.unschedulable:
        return QueueStatus(reason=Reason.WAITING_FOR_POD, message=f"Pod {pod.name} waits for the scheduler.")
    reason = Reason.VOLUME_OR_SECRET if claim_missing(pod) else Reason.UNSCHEDULABLE
    return QueueStatus(reason=reason, message=pod.unschedulable)


def _pull_message(pod: ObservedPod, before: QueueStatus | None) -> str:
    """Return why the image does not come; a back-off without a cause does not replace the known cause."""
    match = _BACK_OFF.match(pod.waiting_message)
    if match is None:
        return pod.waiting_message or f"{pod.waiting_reason}: the image of pod {pod.name} cannot be pulled."
    if match["why"]:
        return match["why"]
    if before is not None and before.reason == Reason.IMAGE_PULL:
        return before.message
    return f"The image {match['image']} cannot be pulled."
