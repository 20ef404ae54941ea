"""A real S3 server for tests: versitygw over a directory."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.config

from hack import tools

START_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """A running server, and a client of it."""

    endpoint: str
    access_key: str
    secret_key: str
    client: Any

    def environment(self) -> dict[str, str]:
        """Return the variables of its credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys in a bucket."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


@contextlib.contextmanager
def serve(folder: Path, *buckets: str) -> Iterator[S3Server]:
    """Serve a directory, with buckets.

    Args:
        folder: an empty one.
        buckets: that are created.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    access, secret = "steno", "steno-secret-key"
    process = subprocess.Popen(
        [str(tools.path("versitygw")), "--access", access, "--secret", secret, "--port", f"127.0.0.1:{port}",
         "--region", "us-east-1", "--quiet", "posix", str(folder)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("versitygw did not start")
            time.sleep(0.02)
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=access, aws_secret_access_key=secret,
            region_name="us-east-1", config=botocore.config.Config(proxies={}),
        )  # fmt: skip
        for bucket in buckets:
            client.create_bucket(Bucket=bucket)
        yield S3Server(endpoint, access, secret, client)
    finally:
        process.terminate()
        process.wait(10)
