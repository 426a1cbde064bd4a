"""A certificate for development, made at start and never kept: `--self-signed`."""

import datetime
import ipaddress
import logging
import os
import socket
import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trilithon.foundation.addresses import Address, AddressKind
from trilithon.foundation.errors import ConfigError
from trilithon.net.tls_contexts import Context, Pair, load_pair

if TYPE_CHECKING:
    from cryptography import x509

log = logging.getLogger("trilithon.error")

VALID_DAYS = 30
_ALWAYS = ("localhost", "127.0.0.1", "::1")


def load_self_signed(context: Context, addresses: Iterable[Address]) -> None:
    """Make a key and a certificate for `addresses` and load them; raises ConfigError without the library for it."""
    names = names_for(addresses)
    text = make_pem(names)
    # The ssl module loads from files only: this one is private (0600) and is gone at once.
    descriptor, path = tempfile.mkstemp(prefix="trilithon-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
        leaf = load_pair(context, Pair("self_signed", path, path), "")
    finally:
        os.unlink(path)
    log.warning(
        "Serving with a self-signed certificate for %s, valid %d days, SHA-256 fingerprint %s",
        ", ".join(names),
        VALID_DAYS,
        leaf.fingerprint,
    )


def names_for(addresses: Iterable[Address]) -> list[str]:
    """Return the host names and IP addresses that a client may use for `addresses`, each once."""
    names = list(_ALWAYS)
    for address in addresses:
        if address.kind is AddressKind.TCP:
            everywhere = address.host in ("", "0.0.0.0", "::")
            names.append(socket.gethostname().lower() if everywhere else address.host.lower())
    return list(dict.fromkeys(name for name in names if name))


def make_pem(names: Iterable[str]) -> bytes:
    """Return a new certificate for `names` with its key (ECDSA, P-256) as PEM text."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID
    except ImportError:
        raise ConfigError("self_signed", True, "needs the library cryptography: pip install 'trilithon[tls]'") from None
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Trilithon development")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(name: str) -> "x509.GeneralName":
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
