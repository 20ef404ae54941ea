"""KServe v2 inference over gRPC (`tritonclient`), with deadlines, safe retries, and errors that say what to do.

Inference changes nothing on the server, so that a request may be sent again whenever no answer came.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from steno_api.failures import FailureReason
from steno_runtime.errors import WorkError

if TYPE_CHECKING:
    import numpy as np

URL_VARIABLE, CA_FILE_VARIABLE = "STENO_TRITON_URL", "STENO_TRITON_CA_FILE"
DEFAULT_PORT = 8001
DIGEST_PARAMETER = "steno_sha256"
"""Parameter of a model's configuration: the SHA-256 of the file that it was exported from."""

_ATTEMPTS = 4
_BACKOFF_SECONDS = 0.2
"""Before the second attempt; twice as long before each further one."""
_KEEPALIVE_MS = 20_000
_AGAIN = frozenset({"StatusCode.UNAVAILABLE", "StatusCode.RESOURCE_EXHAUSTED"})
"""No server there, or its queue is full."""
_REFUSED = frozenset({"StatusCode.UNAUTHENTICATED", "StatusCode.PERMISSION_DENIED"})


@dataclass(frozen=True)
class TritonServer:
    """Where a Triton server is.

    Attributes:
        address: host and port of its gRPC.
        tls: whether it is called over TLS.
        ca_file: CA certificates (PEM) to verify it with; None: the system's.
        timeout: seconds until an inference must be answered, retries included.
    """

    address: str
    tls: bool = False
    ca_file: Path | None = None
    timeout: float = 60.0

    @classmethod
    def from_url(cls, url: str, *, ca_file: Path | None = None) -> Self:
        """Return the server of `grpc://host:port` or, over TLS, `grpcs://host:port`.

        Raises:
            WorkError: `InvalidSpec` for any other URL.
        """
        parts = urlsplit(url if "://" in url else f"grpc://{url}")
        try:
            port = parts.port or DEFAULT_PORT
        except ValueError:
            port = 0
        if parts.scheme not in ("grpc", "grpcs") or not parts.hostname or not port or parts.path.strip("/"):
            raise WorkError(
                FailureReason.INVALID_SPEC,
                f"{url!r} is not the address of a Triton server: write grpc://HOST:{DEFAULT_PORT}, or grpcs://HOST:"
                f"{DEFAULT_PORT} for TLS.",
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{host}:{port}", parts.scheme == "grpcs", ca_file)

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the server that the environment names (`STENO_TRITON_URL`, `STENO_TRITON_CA_FILE`); None: none.

        Raises:
            WorkError: `InvalidSpec` when the variable is not such a URL.
        """
        url, ca_file = os.environ.get(URL_VARIABLE), os.environ.get(CA_FILE_VARIABLE)
        return cls.from_url(url, ca_file=Path(ca_file) if ca_file else None) if url else None


class TritonClient:
    """A connection to a server, which any number of threads may share; it is opened at the first call."""

    def __init__(self, server: TritonServer) -> None:
        self.server = server
        self._lock = threading.Lock()
        self._client: Any = None
        self._checked: set[str] = set()

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def check_model(self, model: str, digest: str) -> None:
        """Check once that the server has a model, and that it is the one that is expected.

        Args:
            model: its name.
            digest: SHA-256 of the file that it must have been exported from.

        Raises:
            WorkError: `ModelNotFound` when it has none, or another one; else as `infer`.
        """
        if model in self._checked:
            return
        config = self._call(lambda client, timeout: client.get_model_config(model, client_timeout=timeout), model)
        found = config.config.parameters[DIGEST_PARAMETER].string_value
        if found != digest:
            what = f"was exported from another file ({found[:12]}…)" if found else "was not exported by Steno"
            raise WorkError(
                FailureReason.MODEL_NOT_FOUND,
                f"Model {model!r} of the Triton server {self.server.address} {what}, and would read other text. Export "
                "the models with this version of Steno: steno models export-triton.",
            )
        self._checked.add(model)

    def infer(self, model: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Run a model on a batch.

        Args:
            model: its name.
            inputs: its inputs by name; the first dimension of each is the batch.
            outputs: names of the outputs that are wanted.

        Raises:
            WorkError: `ModelUnavailable` when the server is away, overloaded, too slow or failed; `ModelNotFound` when
                it has no such model, or one of other inputs; `InvalidSpec` when it refuses this client.
        """
        import tritonclient.grpc as grpcclient
        from tritonclient.utils import np_to_triton_dtype

        tensors: list[Any] = []
        for name, array in inputs.items():
            tensor = grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        wanted = [grpcclient.InferRequestedOutput(name) for name in outputs]
        result = self._call(
            lambda client, timeout: client.infer(model, tensors, outputs=wanted, client_timeout=timeout), model
        )
        found = {name: result.as_numpy(name) for name in outputs}
        if missing := [name for name, array in found.items() if array is None]:
            raise WorkError(
                FailureReason.MODEL_NOT_FOUND, f"{self._model(model)} gives no {', '.join(missing)}. {_EXPORT_AGAIN}"
            )
        return found

    def _call(self, call: Any, model: str) -> Any:
        from tritonclient.utils import InferenceServerException

        deadline = time.monotonic() + self.server.timeout
        for attempt in range(1, _ATTEMPTS + 1):
            left = deadline - time.monotonic()
            try:
                return call(self._connection(), max(0.001, left))
            except InferenceServerException as error:
                pause = _BACKOFF_SECONDS * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
                if error.status() not in _AGAIN or attempt == _ATTEMPTS or pause >= deadline - time.monotonic():
                    raise self._explained(error, model) from error
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _connection(self) -> Any:
        import tritonclient.grpc as grpcclient

        with self._lock:
            if self._client is None:
                options = grpcclient.KeepAliveOptions(
                    keepalive_time_ms=_KEEPALIVE_MS, keepalive_permit_without_calls=False
                )
                self._client = grpcclient.InferenceServerClient(
                    self.server.address,
                    ssl=self.server.tls,
                    root_certificates=str(self.server.ca_file) if self.server.ca_file else None,
                    keepalive_options=options,
                )
            return self._client

    def _model(self, model: str) -> str:
        return f"Model {model!r} of the Triton server {self.server.address}"

    def _explained(self, error: Any, model: str) -> WorkError:
        """Return what an error of the client library means; its text is the server's, of a few words."""
        status, said = str(error.status()), " ".join(str(error.message()).split())[:300]
        if status in _REFUSED:
            return WorkError(
                FailureReason.INVALID_SPEC, f"The Triton server {self.server.address} refuses this client: {said}."
            )
        if status == "StatusCode.NOT_FOUND" or "unknown model" in said or "is not ready" in said:
            return WorkError(
                FailureReason.MODEL_NOT_FOUND,
                f"The Triton server {self.server.address} has no model {model!r}: {said}. Write it with steno models "
                "export-triton into the server's model repository, and load it.",
            )
        if status == "StatusCode.INVALID_ARGUMENT":
            return WorkError(
                FailureReason.MODEL_NOT_FOUND, f"{self._model(model)} takes other inputs: {said}. {_EXPORT_AGAIN}"
            )
        if status == "StatusCode.DEADLINE_EXCEEDED":
            return WorkError(
                FailureReason.MODEL_UNAVAILABLE,
                f"{self._model(model)} did not answer within {self.server.timeout:.0f} s: it is overloaded or stuck. "
                "Give it more instances, or send it less.",
            )
        if status in _AGAIN:
            return WorkError(
                FailureReason.MODEL_UNAVAILABLE,
                f"The Triton server {self.server.address} cannot be reached, or has no room: {said}. Check that it "
                "runs, its address, and that network policies allow its gRPC port.",
            )
        return WorkError(FailureReason.MODEL_UNAVAILABLE, f"{self._model(model)} failed ({status}): {said}.")


_EXPORT_AGAIN = "Export the models with this version of Steno: steno models export-triton."
