"""Proofs: HMACs by a key that only the workers of one resource have, so that they know what they wrote themselves.

Who may write to the output could otherwise put a document or a manifest there before a worker does, which would take it
for that of an earlier attempt. The manifest has its proof in it. An artifact has it in an object beside it, which is
named after the artifact's content and written before: so a worker that dies in between leaves no artifact without one,
and of two that write different ones, each proves its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from steno_api.documents.manifest import Manifest
from steno_api.worker.result_keys import is_proof, prove
from steno_runtime.errors import WorkError
from steno_runtime.storage import OutputDirectory

log = logging.getLogger(__name__)

PROOF_TYPE = "text/plain"


class Proofs:
    """Makes and checks the proofs of one resource's results."""

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        """Take the keys.

        Args:
            keys: returns them, the one that makes proofs first; none where results are not proven, as without an
                operator. Raises `WorkError` while they cannot be had. They are asked for when they are needed.
        """
        self._keys = keys
        self._signing: bytes | None = None
        self._prepared = False

    def prepare(self) -> None:
        """Get the key that makes proofs, now: publishing does not wait for it.

        Results that cannot be proven are published all the same, as an operator that is away is to cost no job. Another
        attempt could not adopt them.
        """
        if self._prepared:
            return
        self._prepared = True
        try:
            self._signing = next(iter(self._keys()), None)
        except WorkError as error:
            log.warning("the results are published without proofs", extra={"why": error.message})

    def write(self, output: OutputDirectory, name: str, data: bytes) -> None:
        """Write the proof of an artifact, which is written next.

        Args:
            output: where to.
            name: of the artifact.
            data: its content.

        Raises:
            WorkError: what `output` raises.
        """
        self.prepare()
        if self._signing is not None:
            digest = hashlib.sha256(data).hexdigest()
            proof = prove(self._signing, _artifact(name, digest))
            output.create(_proof_name(name, digest), proof.encode(), PROOF_TYPE)

    def hold(self, output: OutputDirectory, name: str, data: bytes) -> bool:
        """Tell whether a worker of this resource wrote an artifact that was found.

        Args:
            output: where it was found.
            name: of the artifact.
            data: its content.

        Raises:
            WorkError: what `output` raises, or the keys cannot be had.
        """
        keys = self._keys()
        if not keys:
            return True
        digest = hashlib.sha256(data).hexdigest()
        found = output.read(_proof_name(name, digest)) or b""
        return is_proof(found.decode(errors="replace"), keys, _artifact(name, digest))

    def sign(self, manifest: Manifest) -> Manifest:
        """Return a manifest with its proof."""
        self.prepare()
        if self._signing is None:
            return manifest
        proof = prove(self._signing, {"manifest": json.loads(manifest.to_json())})
        return manifest.model_copy(update={"proof": proof})

    def read(self, data: bytes) -> Manifest:
        """Parse a manifest that was found.

        Raises:
            ValueError: it is none, or no worker of this resource wrote it.
            WorkError: the keys cannot be had.
        """
        manifest = Manifest.model_validate_json(data)
        keys = self._keys()
        if not keys:
            return manifest
        document = json.loads(data)
        proof = document.pop("proof", None)
        if not is_proof(proof, keys, {"manifest": document}):
            raise ValueError("it has no proof of this resource")
        # What was proven, not what another parser makes of the same bytes.
        return Manifest.from_wire({**document, "proof": proof})


def _no_keys() -> Sequence[bytes]:
    return ()


UNPROVEN = Proofs(_no_keys)
"""Proves nothing, and believes what is found: outside a cluster."""


def _proof_name(name: str, digest: str) -> str:
    return f".{name}.{digest[:32]}.proof"


def _artifact(name: str, digest: str) -> dict[str, Any]:
    return {"artifact": name, "sha256": digest}
