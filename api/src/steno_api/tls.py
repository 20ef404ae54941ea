"""Serving certificate: an SSLContext whose certificate is reloaded when its files are replaced (certificate rotation).

Connections that are open go on: TLS needs the certificate for the handshake only. The pool's servers and the operator
share it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from steno_api.server.task import CERTIFICATE_FILE, KEY_FILE

log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
"""Within which a client has to complete its handshake."""
RELOAD_SECONDS = 5.0
"""How often the files are looked at. The kubelet takes about a minute to replace them."""


class CertificateError(Exception):
    """A certificate or its key cannot be used; the message says why."""


class KeyPair(NamedTuple):
    """A certificate with the chain that leads to its CA, and its private key, as PEM."""

    chain: bytes
    key: bytes


def read_key_pair(directory: Path) -> KeyPair:
    """Read a mounted Secret of type `kubernetes.io/tls`.

    Raises:
        CertificateError: a file cannot be read.
    """
    try:
        return KeyPair((directory / CERTIFICATE_FILE).read_bytes(), (directory / KEY_FILE).read_bytes())
    except OSError as error:
        message = f"{error.filename} cannot be read ({type(error).__name__}): is it in the Secret?"
        raise CertificateError(message) from error


def expires_at(chain: bytes) -> float | None:
    """Return the Unix time at which the first of these certificates (PEM) expires; None if they cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - an extra, which clients need not have

    try:
        return min(each.not_valid_after_utc.timestamp() for each in x509.load_pem_x509_certificates(chain))
    except ValueError:  # OpenSSL reads more than that library does
        return None


class ServingCertificate:
    """A server's certificate; what is set last is what new connections see."""

    def __init__(self, pair: KeyPair) -> None:
        """Take the first certificate.

        Raises:
            CertificateError: it cannot be used.
        """
        self.pair = pair
        self.context = _context(pair)
        """For servers of HTTP/1.1."""
        self._rejected: KeyPair | None = None

    def set(self, pair: KeyPair) -> None:
        """Replace the certificate for handshakes from now on.

        Raises:
            CertificateError: it cannot be used; the one before it stays.
        """
        if pair == self.pair:
            return
        _context(pair)  # a context that refused a key would be left with half of the pair
        _load(self.context, pair)
        self.pair = pair

    async def watch(self, load: Callable[[], KeyPair]) -> None:
        """Go on setting what `load` returns; until cancelled.

        A certificate that cannot be used is logged once, and the one before it stays: with the kubelet's next update
        or yours it may be whole.
        """
        while True:
            await asyncio.sleep(RELOAD_SECONDS)
            try:
                pair = await asyncio.to_thread(load)
                if pair in (self.pair, self._rejected):
                    continue
                self._rejected = pair
                self.set(pair)
                self._rejected = None
                log.info("the certificate was replaced")
            except CertificateError as error:
                log.warning("the new certificate is not used, the one before it stays", extra={"why": str(error)})


def _context(pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, pair)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Load from memory: of files, the key might be replaced after the certificate was read."""
    file = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(file, pair.chain + b"\n" + pair.key)
        # With a password, even an empty one, nobody is asked for that of an encrypted key.
        context.load_cert_chain(f"/proc/self/fd/{file}", password=b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "no PEM"
        message = f"{CERTIFICATE_FILE} and {KEY_FILE} are not a certificate and its unencrypted key: {reason}"
        raise CertificateError(message) from error
    finally:
        os.close(file)
