"""Just enough S3 to put and get the demo's files with the standard library: AWS signature version 4, path style."""

from __future__ import annotations

import hashlib
import hmac
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime

from hack.steps import StepError

CONFLICT = 409


@dataclass(frozen=True)
class Client:
    """An S3 server and a key to it."""

    endpoint: str
    access_key: str
    secret_key: str
    region: str

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket; one that is there is fine."""
        self._call("PUT", f"/{bucket}", b"", allowed=(CONFLICT,))

    def put(self, uri: str, data: bytes) -> None:
        """Write an object at an `s3://` URI."""
        self._call("PUT", "/" + uri.removeprefix("s3://"), data)

    def get(self, uri: str) -> bytes:
        """Return the bytes at an `s3://` URI."""
        return self._call("GET", "/" + uri.removeprefix("s3://"), b"")

    def _call(self, method: str, path: str, body: bytes, allowed: tuple[int, ...] = ()) -> bytes:
        path = urllib.parse.quote(path)
        headers = signed(self, method, path, body, datetime.now(UTC))
        request = urllib.request.Request(self.endpoint + path, data=body or None, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as err:
            if err.code in allowed:
                return b""
            raise StepError(f"S3: {method} {path}: {err.code} {err.read()[:300].decode(errors='replace')}") from None
        except OSError as err:
            raise StepError(f"S3: {self.endpoint} does not answer: {err}") from None


def signed(client: Client, method: str, path: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return headers that sign a request without a query (AWS signature version 4)."""
    digest = hashlib.sha256(body).hexdigest()
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {
        "host": urllib.parse.urlsplit(client.endpoint).netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    names = ";".join(sorted(headers))
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    canonical = "\n".join([method, path, "", *lines, "", names, digest])
    scope = f"{day}/{client.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{client.secret_key}".encode()
    for part in (day, client.region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={client.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers
