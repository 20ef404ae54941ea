"""A certificate authority of a test, as cert-manager's CA issuer: it writes `tls.crt`, `tls.key` and `ca.crt`."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


@dataclass
class Authority:
    """Issues certificates; `pem` is what clients trust."""

    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _issuer: x509.Name = field(default_factory=lambda: _name(f"ca-{os.urandom(4).hex()}"))

    def __post_init__(self) -> None:
        builder = self._builder(self._issuer, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, lifetime: timedelta = timedelta(days=1)
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        begin, end = now - timedelta(minutes=5), now + lifetime
        builder = x509.CertificateBuilder(self._issuer, subject, public, x509.random_serial_number(), begin, end)
        return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)

    def issue(self, *names: str, lifetime: timedelta = timedelta(days=1)) -> tuple[bytes, bytes]:
        """Return a certificate for DNS names and addresses, and its private key (PEM)."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(names[0]), key.public_key(), lifetime)
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(alternatives, critical=False).add_extension(issuer, critical=False)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM), private

    def write(self, folder: Path, *names: str) -> Path:
        """Replace the files of a folder as the kubelet does those of a mounted Secret: all of them at once."""
        certificate, key = self.issue(*names)
        return mount(folder, {"tls.crt": certificate, "tls.key": key, "ca.crt": self.pem})

    def context(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority alone."""
        return ssl.create_default_context(cadata=self.pem.decode())


def mount(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files as the kubelet does: into a directory of their own, to which a link is then moved."""
    folder.mkdir(parents=True, exist_ok=True)
    version = folder / f"..{os.urandom(4).hex()}"
    version.mkdir()
    for name, content in files.items():
        (version / name).write_bytes(content)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    (folder / "..next").symlink_to(version.name)
    (folder / "..next").rename(folder / "..data")
    return folder
