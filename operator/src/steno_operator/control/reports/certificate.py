"""Private CA of the report endpoint: its key is in a Secret of the operator's own, each replica issues its certificate.

Workers and servers get the CA with their task, and trust nothing else for reports. A replica's certificate lives in its
memory and is renewed there, so that what its clients trust stays the same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ipaddress
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from steno_api.server.task import CERTIFICATE_FILE, KEY_FILE
from steno_api.tls import CertificateError, KeyPair, ServingCertificate, read_key_pair
from steno_kube.client import CONFLICT, NOT_FOUND, SECRETS, ApiError, Cluster
from steno_operator.manifests import labels

log = logging.getLogger(__name__)

CA_LIFETIME = timedelta(days=3650)
LIFETIME = timedelta(days=90)
"""Of a replica's certificate; it is renewed when a third of that is left."""
_CA_FILE = "ca.crt"
"""As cert-manager names it."""
_SKEW = timedelta(hours=1)
"""How far the clocks of nodes may be behind."""


class ReportAuthority:
    """A CA whose only certificates are those of the report endpoint."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self.pem = certificate.public_bytes(Encoding.PEM).decode()
        """What workers and servers verify the operator with."""

    @classmethod
    def generate(cls, now: datetime) -> ReportAuthority:
        """Make a new CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "steno-operator reports")])
        builder = _builder(name, name, key.public_key(), now, CA_LIFETIME)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def from_secret(cls, secret: Mapping[str, Any]) -> ReportAuthority:
        """Read the CA of a Secret.

        Raises:
            CertificateError: there is none in it.
        """
        data = secret.get("data") or {}
        try:
            certificate = x509.load_pem_x509_certificate(base64.b64decode(data[CERTIFICATE_FILE]))
            key = load_pem_private_key(base64.b64decode(data[KEY_FILE]), password=None)
        except (KeyError, ValueError, TypeError, binascii.Error):
            certificate = key = None
        if certificate is None or not isinstance(key, ec.EllipticCurvePrivateKey):
            name = secret["metadata"]["name"]
            message = f"Secret {name} does not hold the CA of reports: delete it to have a new one created"
            raise CertificateError(message)
        return cls(certificate, key)

    def to_secret(self, namespace: str, name: str) -> dict[str, Any]:
        """Return the manifest of the CA's Secret."""
        private = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files = {CERTIFICATE_FILE: self.pem.encode(), KEY_FILE: private}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace, "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}},
            "type": "Opaque",
            "data": {field: base64.b64encode(content).decode() for field, content in files.items()},
        }

    def issue(self, host: str, now: datetime) -> KeyPair:
        """Issue a certificate for the host of the report endpoint."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "steno-operator")])
        builder = _builder(subject, self._certificate.subject, key.public_key(), now, LIFETIME)
        issuer = self._key.public_key()
        for extension in (
            x509.SubjectAlternativeName([_alternative_name(host)]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer),
        ):
            builder = builder.add_extension(extension, critical=False)
        chain = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return KeyPair(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


class _Renewed:
    """A certificate of the CA, issued anew in time."""

    def __init__(self, authority: ReportAuthority, host: str) -> None:
        self._authority = authority
        self._host = host
        self._issued: datetime | None = None
        self._pair = KeyPair(b"", b"")

    def current(self) -> KeyPair:
        """Return it; a new one if two thirds of its life are over."""
        now = datetime.now(UTC)
        if self._issued is None or now - self._issued > LIFETIME * 2 / 3:
            self._pair, self._issued = self._authority.issue(self._host, now), now
        return self._pair


@dataclass(frozen=True)
class ReportTLS:
    """How the report endpoint is served.

    Attributes:
        certificate: of this replica.
        current: what `certificate` is to be kept at.
        ca: what workers and servers verify it with (PEM); None: what their image trusts.
    """

    certificate: ServingCertificate
    current: Callable[[], KeyPair]
    ca: str | None


def mounted(directory: Path) -> ReportTLS:
    """Serve a certificate that somebody else renews, such as cert-manager.

    Raises:
        CertificateError: it cannot be used.
    """
    current = partial(read_key_pair, directory)
    ca = directory / _CA_FILE
    try:
        trusted = ca.read_text(encoding="ascii") if ca.exists() else None
        if trusted is not None:
            ssl.create_default_context(cadata=trusted)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateError(f"{ca} has no CA certificates (PEM): {type(error).__name__}") from error
    return ReportTLS(ServingCertificate(current()), current, trusted)


async def issued(cluster: Cluster, namespace: str, name: str, host: str) -> ReportTLS:
    """Serve a certificate of the operator's own CA.

    Args:
        cluster: where the CA's Secret is.
        namespace: the operator's own.
        name: the Secret's; it is created if it does not exist.
        host: of the report URL.

    Raises:
        CertificateError: the Secret holds something else.
        ApiError, UnreachableError: it cannot be read or created.
    """
    authority = await load_authority(cluster, namespace, name)
    renewed = _Renewed(authority, host)
    return ReportTLS(ServingCertificate(renewed.current()), renewed.current, authority.pem)


async def load_authority(cluster: Cluster, namespace: str, name: str) -> ReportAuthority:
    """Read the CA, or create it.

    Args:
        cluster: where its Secret is.
        namespace: the operator's own.
        name: the Secret's.

    Raises:
        CertificateError: the Secret holds something else.
        ApiError, UnreachableError: it cannot be read or created.
    """
    try:
        return ReportAuthority.from_secret(await cluster.get(SECRETS, namespace, name))
    except ApiError as error:
        if error.status != NOT_FOUND:
            raise
    authority = ReportAuthority.generate(datetime.now(UTC))
    try:
        await cluster.create(SECRETS, namespace, authority.to_secret(namespace, name))
    except ApiError as error:
        if error.status != CONFLICT:
            raise
        return ReportAuthority.from_secret(await cluster.get(SECRETS, namespace, name))
    log.info("made Secret %s", name)
    return authority


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    builder = x509.CertificateBuilder(issuer, subject, public, serial, now - _SKEW, now + lifetime)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _alternative_name(host: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)
