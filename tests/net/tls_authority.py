"""Certificates for tests: an authority, and servers' and clients' certificates that it signs, as PEM files."""

import datetime
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
SHOP = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Doe, Jane"), (NameOID.COMMON_NAME, "jane")]


def pem_of_key(key: Any, password: str = "") -> bytes:
    """Return a private key as PEM."""
    encryption = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


class Signed:
    """A certificate with its key."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate = certificate
        self.key = key
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.key_pem = pem_of_key(key).decode()

    def write(self, path: Path, password: str = "") -> str:
        """Write certificate and key into one file; returns its path."""
        path.write_bytes(self.pem.encode() + pem_of_key(self.key, password))
        return str(path)


class Authority:
    """Signs certificates with a key of its own."""

    def __init__(self, name: str = "Test authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key, DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def server(
        self, *names: str, key: str = "ec", valid: datetime.timedelta = DAY, since: datetime.timedelta = 30 * DAY
    ) -> Signed:
        """Return a certificate for the names, made `since` ago; with a negative `valid` it expired that long ago."""
        made = ec.generate_private_key(ec.SECP256R1()) if key == "ec" else rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nameless")])
        builder = self._builder(subject, made, valid, since)
        if names:
            dns = [x509.DNSName(name) for name in names]
            builder = builder.add_extension(x509.SubjectAlternativeName(dns), critical=False)
        return Signed(builder.sign(self.key, hashes.SHA256()), made)

    def client(self, subject: list[Any] | x509.Name = SHOP, valid: datetime.timedelta = DAY) -> Signed:
        """Return a certificate for a client."""
        made = ec.generate_private_key(ec.SECP256R1())
        if isinstance(subject, list):
            subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
        builder = self._builder(subject, made, valid).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        return Signed(builder.sign(self.key, hashes.SHA256()), made)

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.pem)
        return context

    def write(self, path: Path) -> str:
        """Write the authority's certificate; returns its path."""
        path.write_text(self.pem)
        return str(path)

    def _builder(
        self, subject: x509.Name, key: Any, valid: datetime.timedelta, since: datetime.timedelta = 30 * DAY
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - since)
            .not_valid_after(now + valid)
        )
