"""What a session leaves: its transcript in every format asked for, and the manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from steno_api.documents.manifest import Manifest, PublishedArtifact
from steno_api.documents.transcript import Segment, Transcript
from steno_api.failures import FailureReason
from steno_api.model import ObjectRef
from steno_api.server.claims import SessionClaims
from steno_api.server.task import PoolOutput
from steno_api.worker.task import TaskOutput
from steno_runtime.errors import WorkError
from steno_runtime.storage import Output, once, open_output
from steno_runtime.stt.document import build_transcript, summarise
from steno_runtime.stt.pipeline import UNKNOWN_LANGUAGE, Result
from steno_runtime.stt.writers import FILE_NAMES, MEDIA_TYPES, WRITERS

_PRIMARY = "json"
_MOST_TAKEN = 20


@dataclass(frozen=True)
class Told:
    """All that is known of a session when it ends."""

    claims: SessionClaims
    segments: Sequence[Segment]
    duration: float
    """Seconds of audio."""
    seconds: float
    """From the first connection to the last final."""
    language: str | None
    model: str
    device: str


def build(told: Told) -> Transcript:
    """Returns the document of a session, the same as that of a recording."""
    words = [word.confidence for segment in told.segments for word in segment.words]
    result = Result(
        segments=tuple(told.segments),
        language=told.language or UNKNOWN_LANGUAGE,
        duration=round(told.duration, 3),
        confidence=round(sum(words) / len(words), 4) if words else 0.0,
        device=told.device,
        model=told.model,
        has_diarization=False,
    )
    return build_transcript(
        result, meeting_id=told.claims.meeting_id, tenant_id=told.claims.tenant, processing_time=told.seconds
    )


def output_of(claims: SessionClaims, place: PoolOutput) -> Output:
    """Opens the directory that a session's results go to.

    Raises:
        WorkError: `InvalidSpec`: servers of a pool write to object stores only.
    """
    uri = (claims.output_uri or "").rstrip("/")
    if not uri.lower().startswith("s3://"):
        raise WorkError(FailureReason.INVALID_SPEC, "output.uri of a StreamSession must begin with s3://.")
    return open_output(
        TaskOutput(
            uri=uri,
            endpointURL=place.endpoint_url,
            region=place.region,
            credentials_dir=place.credentials_dir,
            formats=[fmt.value for fmt in claims.formats],
        )
    )


def publish(output: Output, told: Told) -> Manifest:
    """Publishes a session; returns the manifest that stands.

    A session may have gone on at another server after its first one died, or was cut off, while publishing. What that
    one left stays as it is, and this transcript, which is another part of the session, takes the next free names.

    Raises:
        WorkError: `OutputForbidden`, `OutputNotFound`, `OutputUnavailable` or `InvalidSpec`.
    """
    claims = told.claims
    standing = once.find_manifest(output, claims.uid)
    if standing is not None:
        return standing
    transcript = build(told)
    formats = sorted({fmt.value for fmt in claims.formats}, key=lambda fmt: (fmt != _PRIMARY, fmt))
    data = {fmt: WRITERS[fmt](transcript) for fmt in formats}
    manifest = Manifest(
        job=ObjectRef(namespace=claims.namespace, name=claims.name, uid=claims.uid),
        attempt=1,
        tenant=claims.tenant,
        created_at=datetime.now(UTC),
        source_uri=f"stream://{claims.sub}",
        artifacts=_write(output, data),
        summary=summarise(transcript, told.device),
    )
    return once.seal(output, manifest)


def _write(output: Output, data: dict[str, bytes]) -> list[PublishedArtifact]:
    for number in range(1, _MOST_TAKEN + 1):
        names = {fmt: FILE_NAMES[fmt] if number == 1 else f"transcript-{number}.{fmt}" for fmt in data}
        if all(once.write_once(output, names[fmt], data[fmt], MEDIA_TYPES[fmt]) == data[fmt] for fmt in data):
            return [once.artifact(fmt, names[fmt], data[fmt]) for fmt in data]
    raise once.in_the_way(output, FILE_NAMES[_PRIMARY])
