"""Certificates of clients: none, optional, required, from elsewhere, expired; and what the application is told."""

import ssl
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.tls import TlsError
from trilithon.net.tls_facts import distinguished_name

from .tls_authority import DAY, Authority, Signed
from .tls_memory import MemoryClient

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign everything in this file."""
    return Authority()


@pytest.fixture(scope="module", params=["optional", "required"])
def asking(request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> TlsStore:
    """Ask clients for certificates."""
    return store_for(authority, tmp_path_factory.mktemp("tls"), request.param)


def store_for(authority: Authority, directory: Path, client_certs: str) -> TlsStore:
    """Return a store that treats certificates of clients so."""
    more = {"client_certs": client_certs, "ca_certs": authority.write(directory / "ca.pem")}
    if client_certs == "none":
        more = {}
    return open_store(Options(certfile=authority.server("localhost").write(directory / "site.pem"), **more), [])


def context_of(
    authority: Authority, tmp_path: Path, signed: Signed | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    """Return a client's context with a certificate."""
    context = authority.trusting()
    context.maximum_version = version
    if signed is not None:
        context.load_cert_chain(signed.write(tmp_path / "client.pem"))
    return context


@pytest.mark.spec("A-XTLS-02", "A-XTLS-03")
@VERSIONS
def test_a_client_shows_who_it_is(
    asking: TlsStore, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    signed = authority.client()
    client = MemoryClient(asking, context_of(authority, tmp_path, signed, version)).shake()
    client.send(b"x")
    facts = client.channel.facts()
    assert facts.client_chain[0] == signed.pem
    assert facts.client_name == signed.certificate.subject.rfc4514_string() == "CN=jane,O=Doe\\, Jane,C=DE"
    assert facts.client_error is None
    assert facts.version == {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}[client.tls.version() or ""]


@pytest.mark.spec("A-XTLS-03")
@VERSIONS
def test_a_client_without_certificate(authority: Authority, tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = context_of(authority, tmp_path, None, version)
    facts = MemoryClient(store_for(authority, tmp_path, "optional"), context).shake().channel.facts()
    assert (facts.client_chain, facts.client_name, facts.client_error) == ((), None, None)
    with pytest.raises((TlsError, ssl.SSLError), match=r"(?i)peer did not return a certificate"):
        MemoryClient(store_for(authority, tmp_path, "required"), context).shake()


@pytest.mark.spec("A-XTLS-03")
def test_a_certificate_that_nobody_asks_for_is_not_told(authority: Authority, tmp_path: Path) -> None:
    context = context_of(authority, tmp_path, authority.client())
    facts = MemoryClient(store_for(authority, tmp_path, "none"), context).shake().channel.facts()
    assert (facts.client_chain, facts.client_name) == ((), None)


@VERSIONS
@pytest.mark.parametrize(
    ("stranger", "valid", "reason"),
    [(True, DAY, "unable to get local issuer certificate"), (False, -DAY, "certificate has expired")],
)
def test_a_certificate_that_does_not_hold_is_refused(
    asking: TlsStore,
    authority: Authority,
    tmp_path: Path,
    version: ssl.TLSVersion,
    stranger: bool,
    valid: "object",
    reason: str,
) -> None:
    signed = (Authority("Somebody else") if stranger else authority).client(valid=valid)
    client = MemoryClient(asking, context_of(authority, tmp_path, signed, version))
    with pytest.raises(TlsError, match=reason):
        client.shake()
    # The alert reaches the client.
    with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
        while True:
            client.tls.do_handshake()
            client.tls.read(1)


@pytest.mark.spec("A-XTLS-03")
def test_intermediate_certificates_are_told_where_python_can(authority: Authority, tmp_path: Path) -> None:
    signed = authority.client()
    path = tmp_path / "chain.pem"
    path.write_text(signed.pem + signed.key_pem + authority.pem)
    context = authority.trusting()
    context.load_cert_chain(str(path))
    client = MemoryClient(store_for(authority, tmp_path, "required"), context).shake()
    chain = client.channel.facts().client_chain
    assert chain == ((signed.pem, authority.pem) if sys.version_info >= (3, 13) else (signed.pem,))


@pytest.mark.spec("A-XTLS-03")
@VERSIONS
def test_a_resumed_session_still_tells_who_it_is(
    asking: TlsStore, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    signed = authority.client()
    context = context_of(authority, tmp_path, signed, version)
    first = MemoryClient(asking, context).shake()
    first.answer(b"x")
    second = MemoryClient(asking, context, session=first.tls.session).shake()
    assert second.tls.session_reused
    facts = second.channel.facts()
    assert facts.client_chain[0] == signed.pem
    assert facts.client_name == "CN=jane,O=Doe\\, Jane,C=DE"


NAMES = [
    [(NameOID.COMMON_NAME, "plain")],
    [(NameOID.ORGANIZATION_NAME, 'a+b,"c";<d>\\'), (NameOID.COMMON_NAME, "#sharp ")],
    [(NameOID.COMMON_NAME, " both ")],
    [(NameOID.DOMAIN_COMPONENT, "org"), (NameOID.DOMAIN_COMPONENT, "example"), (NameOID.USER_ID, "jd")],
    [(NameOID.COMMON_NAME, "Jos\u00e9 \u4e2d")],
    [(NameOID.STATE_OR_PROVINCE_NAME, "B"), (NameOID.LOCALITY_NAME, "L"), (NameOID.STREET_ADDRESS, "S")],
    [(NameOID.ORGANIZATIONAL_UNIT_NAME, "one"), (NameOID.ORGANIZATIONAL_UNIT_NAME, "two")],
]


@pytest.mark.spec("A-XTLS-03")
@pytest.mark.parametrize("subject", NAMES, ids=lambda subject: subject[0][1])
def test_names_are_written_as_rfc_4514_says(
    asking: TlsStore, authority: Authority, tmp_path: Path, subject: list[tuple[x509.ObjectIdentifier, str]]
) -> None:
    signed = authority.client(subject)
    client = MemoryClient(asking, context_of(authority, tmp_path, signed)).shake()
    assert client.channel.facts().client_name == signed.certificate.subject.rfc4514_string()


@pytest.mark.spec("A-XTLS-03")
def test_names_with_several_parts_in_one_and_without_short_names() -> None:
    subject = ((("commonName", "a"), ("userId", "b")), (("serialNumber", "7"),), (("1.2.3.4", "xy"),))
    assert distinguished_name(subject) == "1.2.3.4=#0c027879,serialNumber=7,CN=a+UID=b"
    assert distinguished_name(((("1.2.3.4", "x" * 200),),)) == "1.2.3.4=#0c81c8" + "78" * 200
    assert distinguished_name(()) == ""
