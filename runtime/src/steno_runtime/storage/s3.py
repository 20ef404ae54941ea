"""S3 sources and outputs, through obstore."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, NotSupportedError, PreconditionError
from obstore.store import S3Store

from steno_api.egress import DENIED
from steno_api.failures import FailureReason
from steno_api.s3 import parse_error
from steno_api.worker.task import EgressRules, TaskOutput, TaskSource
from steno_runtime.errors import WorkError
from steno_runtime.storage.common import Retry, Unavailable
from steno_runtime.storage.download import Body
from steno_runtime.storage.egress_proxy import DENIED_CODE, OTHER_ORIGIN_CODE, UNREACHABLE_CODE
from steno_runtime.storage.s3_client import (
    ERRORS,
    LONG_RETRY,
    NO_RETRY,
    READ_SECONDS,
    SHORT_RETRY,
    WRITE_SECONDS,
    has_keys,
    open_client,
)

log = logging.getLogger(__name__)

CHECK_NAME = ".steno-write-check"
"""An empty object that is written and deleted at once, to find out whether results can be written later."""
_CONFLICT_RETRY = Retry(attempts=6, first_pause=0.1, max_pause=1.0)
"""For a write that another one at the same place got in the way of: S3 asks that it be tried again."""


class S3Source:
    """One object of a bucket."""

    def __init__(self, source: TaskSource, egress: EgressRules) -> None:
        self.display_uri = source.uri
        self._store, self._key = open_client(source, egress, NO_RETRY, "source", read_timeout=READ_SECONDS)
        self._ambient = not has_keys(source.credentials_dir)
        self._etag: str | None = None

    @contextlib.contextmanager
    def open(self, offset: int) -> Iterator[Body]:
        """See `RemoteFile`."""
        try:
            result = obstore.get(self._store, self._key, options=self._options(offset))
        except PreconditionError as error:  # the object was replaced meanwhile: start over with the new one
            self._etag = None
            raise Unavailable("it changed while it was read") from error
        except ERRORS as error:
            raise self._translate(error) from error
        self._etag = result.meta["e_tag"]
        yield Body(offset=result.range[0] if offset else 0, total=result.meta["size"], chunks=self._chunks(result))

    def _options(self, offset: int) -> Any:
        if offset and self._etag:
            return {"range": {"offset": offset}, "if_match": self._etag}
        return {}

    def _chunks(self, result: obstore.GetResult) -> Iterator[bytes]:
        try:
            for chunk in result.stream(min_chunk_size=1):  # whatever comes: a full buffer could take for days to fill
                yield bytes(chunk)
        except ERRORS as error:
            raise Unavailable("the connection broke") from error

    def _translate(self, error: Exception) -> Exception:
        answer = _StoreError(error, self._ambient)
        if answer.kind == "missing":
            what = "its bucket does not exist" if answer.code == "NoSuchBucket" else "no such object"
            return WorkError(
                FailureReason.SOURCE_NOT_FOUND,
                f"{self.display_uri} was not found: {what}. Check bucket, key and endpoint; keys are case-sensitive.",
            )
        if answer.kind == "forbidden":
            return WorkError(
                FailureReason.SOURCE_FORBIDDEN,
                f"Reading {self.display_uri} is not allowed: {answer.reason}. "
                f"{_credentials_remedy('source', self._ambient)} They need s3:GetObject.",
            )
        if answer.kind == "invalid":
            return WorkError(FailureReason.INVALID_SPEC, f"{self.display_uri} cannot be read: {answer.reason}.")
        return Unavailable(answer.reason)


class S3Output:
    """A prefix of a bucket. Each object is put in one request, so none is ever half written."""

    def __init__(self, output: TaskOutput, egress: EgressRules) -> None:
        self.uri = output.uri
        self._ambient = not has_keys(output.credentials_dir)
        self._store, self._prefix = open_client(output, egress, SHORT_RETRY, "output", read_timeout=READ_SECONDS)
        self._no_retry_store, _ = open_client(output, egress, NO_RETRY, "output", read_timeout=WRITE_SECONDS)
        self._long_retry_store, _ = open_client(output, egress, LONG_RETRY, "output", read_timeout=WRITE_SECONDS)
        self._conditional = True

    def check_writable(self) -> None:
        """See `OutputDirectory`."""
        key = self._key(CHECK_NAME)
        try:
            self._put(self._store, CHECK_NAME, b"", "application/octet-stream", mode="overwrite")
        except ERRORS as error:
            raise self._translate(error) from error
        try:
            obstore.delete(self._store, key)
        except ERRORS as error:  # permission to write but not to delete is enough for results; an empty object stays
            log.info("cannot delete the write check", extra={"why": _StoreError(error, self._ambient).reason})

    def read(self, name: str) -> bytes | None:
        """See `OutputDirectory`."""
        try:
            return bytes(obstore.get(self._store, self._key(name)).bytes())
        except ERRORS as error:
            answer = _StoreError(error, self._ambient)
            if answer.kind == "missing" and answer.code != "NoSuchBucket":
                return None
            if answer.kind == "forbidden":  # also S3's answer for a missing key without permission to list the bucket
                return None
            raise self._translate(error) from error

    def create(self, name: str, data: bytes, content_type: str) -> bool:
        """See `OutputDirectory`."""
        if self._conditional:
            try:
                # Without retries: a store that has no conditional writes says so with a server error, which would be
                # retried for minutes.
                return self._put(self._no_retry_store, name, data, content_type, mode="create")
            except ERRORS as error:
                answer = _StoreError(error, self._ambient)
                self._conditional = not (isinstance(error, NotSupportedError) or answer.code == "NotImplemented")
                if self._conditional and answer.kind != "unavailable":
                    raise self._translate(error) from error
        try:
            if self._conditional:
                return self._put(self._long_retry_store, name, data, content_type, mode="create")
            # What exists is still kept, but of two writers at the same instant the later one overwrites.
            return self.read(name) is None and self._put(
                self._long_retry_store, name, data, content_type, mode="overwrite"
            )
        except ERRORS as error:
            raise self._translate(error) from error

    def _put(
        self, store: S3Store, name: str, data: bytes, content_type: str, *, mode: Literal["create", "overwrite"]
    ) -> bool:
        attributes = {"Content-Type": content_type}
        conflicts = 0
        while True:
            try:
                obstore.put(store, self._key(name), data, mode=mode, attributes=attributes, use_multipart=False)
            except ERRORS as error:
                if parse_error(error).is_conflict:  # for obstore it exists already, which a retry finds out
                    conflicts += 1
                    if conflicts == _CONFLICT_RETRY.attempts:
                        raise
                    _CONFLICT_RETRY.pause(conflicts, lambda: None)
                elif isinstance(error, AlreadyExistsError | PreconditionError):
                    return False
                else:
                    raise
            else:
                return True

    def cleanup(self) -> None:
        """See `OutputDirectory`. Puts leave nothing behind."""

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _translate(self, error: Exception) -> WorkError:
        answer = _StoreError(error, self._ambient)
        if answer.kind == "missing":
            bucket = urlsplit(self.uri).netloc
            return WorkError(
                FailureReason.OUTPUT_NOT_FOUND,
                f"The bucket {bucket} of output.uri does not exist. Create it, or correct output.uri or its endpoint.",
            )
        if answer.kind == "forbidden":
            return WorkError(
                FailureReason.OUTPUT_FORBIDDEN,
                f"Writing {self.uri} is not allowed: {answer.reason}. {_credentials_remedy('output', self._ambient)} "
                "They need s3:PutObject and s3:GetObject.",
            )
        if answer.kind == "invalid":
            return WorkError(FailureReason.INVALID_SPEC, f"{self.uri} cannot be written: {answer.reason}.")
        return WorkError(
            FailureReason.OUTPUT_UNAVAILABLE,
            f"{self.uri} could not be written: {answer.reason}. Check that the S3 endpoint is up and reachable from "
            "the cluster.",
        )


class _StoreError:
    """What an obstore error means.

    Attributes:
        kind: `missing`, `forbidden`, `invalid` (retrying is of no use) or `unavailable`.
        code: S3's error code, empty if there was none.
        reason: a few words for people, without anything secret.
    """

    def __init__(self, error: Exception, ambient: bool) -> None:
        text = str(error).partition("Debug source")[0]
        answer = parse_error(error)
        self.code, status = answer.code, answer.status
        answered = f"the store answered {' '.join(part for part in (answer.phrase, answer.code) if part)}"
        if ambient and "169.254." in text:
            self.kind, self.reason = "forbidden", "there are no credentials"
        elif answer.code == DENIED_CODE:
            self.kind, self.reason = "invalid", f"its endpoint leads to an address that is {DENIED}"
        elif answer.code == OTHER_ORIGIN_CODE:
            self.kind, self.reason = "invalid", "its endpoint redirects to another server, which gets no credentials"
        elif answer.code == UNREACHABLE_CODE:
            self.kind, self.reason = "unavailable", "the store did not answer"
        elif answer.is_forbidden:
            self.kind, self.reason = "forbidden", answered
        elif answer.is_wrong_region or "LOCATION" in text:
            self.kind = "invalid"
            self.reason = "the bucket is in another region; set region (or AWS_REGION in the Secret)"
        elif isinstance(error, FileNotFoundError) or status == 404:
            self.kind, self.reason = "missing", answered
        elif isinstance(error, ValueError):
            self.kind, self.reason = "invalid", "its key has an empty or relative path segment, or is not valid"
        elif 300 <= status < 500 and status not in (408, 425, 429):
            self.kind, self.reason = "invalid", answered
        else:
            self.kind = "unavailable"
            self.reason = answered if answer.phrase or answer.code else "the store did not answer"
        # Never the text: it quotes the body of the answer, and an endpoint may lead anywhere.
        known = {"error": type(error).__name__, "status": answer.status, "code": answer.code}
        log.info("the store answered with an error", extra=known)


def _credentials_remedy(role: str, ambient: bool) -> str:
    if ambient:
        return f"Set {role}.secretRef, or give the pod's ServiceAccount an identity with access."
    return f"Check the credentials in the Secret of {role}.secretRef and their permissions."
