"""Several certificates: which one a client gets, what it is told of, and resumption across all of them."""

import ssl
import time
from pathlib import Path

import pytest

from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store

from .tls_authority import DAY, Authority
from .tls_memory import MemoryClient, singly

NAMES = ["a.example", "b.example", "*.b.example", "x.b.example", "xn--bcher-kva.example"]


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign everything in this file."""
    return Authority()


@pytest.fixture(scope="module")
def directory(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold certificates in every form that a directory of them may have."""
    path = tmp_path_factory.mktemp("certificates")
    authority.server("a.example", "www.a.example").write(path / "a.pem")
    for suffix, name in ((".crt", "b.example"), (".pem", "*.b.example")):
        signed = authority.server(name)
        (path / f"{name}{suffix}").write_text(signed.pem)
        (path / f"{name}.key").write_text(signed.key_pem)
    site = path / "xn--bcher-kva.example"
    site.mkdir()
    signed = authority.server("XN--bcher-kva.example", key="rsa")
    (site / "fullchain.pem").write_text(signed.pem + authority.pem)
    (site / "privkey.pem").write_text(signed.key_pem)
    (site / "README").write_text("as certbot writes one")
    (path / "README").write_text("nothing")
    (path / ".hidden.pem").write_text("nothing")
    return path


@pytest.fixture(scope="module")
def store(authority: Authority, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> TlsStore:
    """Hold them all, and a default."""
    certfile = authority.server("default.example").write(tmp_path_factory.mktemp("default") / "site.pem")
    return open_store(Options(certfile=certfile, cert_dir=str(directory)), ["h2", "http/1.1"])


@pytest.mark.spec("H2-CONN-04", "A-XTLS-02")
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.example", "a.example"),
        ("www.a.example", "a.example"),
        ("WWW.A.example", "a.example"),
        ("b.example", "b.example"),
        ("x.b.example", "*.b.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("y.x.b.example", "default.example"),
        ("elsewhere.example", "default.example"),
        ("default.example", "default.example"),
        (None, "default.example"),
    ],
)
def test_the_name_chooses_the_certificate(store: TlsStore, authority: Authority, name: str | None, found: str) -> None:
    context = authority.trusting()
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    client = MemoryClient(store, context, name, cut=singly).shake()
    sent = client.tls.getpeercert(True)
    certificate = client.tls.getpeercert() or {}
    assert certificate["subject"][0][0][1].lower() == found
    facts = client.channel.facts()
    assert facts.server_cert == ssl.DER_cert_to_PEM_cert(sent or b"")
    assert (facts.server_name or "").lower() == (name or "").lower()
    assert facts.alpn == "h2"


def test_the_first_by_name_is_the_default_of_a_directory_alone(authority: Authority, directory: Path) -> None:
    store = open_store(Options(cert_dir=str(directory)), [])
    context = authority.trusting()
    context.check_hostname = False
    client = MemoryClient(store, context, "elsewhere.example").shake()
    assert client.channel.facts().server_cert == ssl.DER_cert_to_PEM_cert(client.tls.getpeercert(True) or b"")
    assert (client.tls.getpeercert() or {})["subject"][0][0][1] == "*.b.example"


def test_a_valid_certificate_goes_before_an_expired_one(authority: Authority, tmp_path: Path) -> None:
    authority.server("site.example", valid=-DAY).write(tmp_path / "a-old.pem")
    new = authority.server("site.example")
    new.write(tmp_path / "b-new.pem")
    store = open_store(Options(cert_dir=str(tmp_path)), [])
    client = MemoryClient(store, authority.trusting(), "site.example").shake()
    assert client.channel.facts().server_cert == new.pem


def test_a_valid_certificate_takes_the_place_of_one_that_expires(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = authority.server("site.example"), authority.server("site.example", valid=20 * DAY)
    old.write(tmp_path / "a-old.pem")
    new.write(tmp_path / "b-new.pem")
    store = open_store(Options(cert_dir=str(tmp_path), cert_reload_s=1.0), [])

    def served() -> str | None:
        return MemoryClient(store, authority.trusting(), "site.example").shake().channel.facts().server_cert

    assert not store.reload_if_changed(100.0)
    assert served() == old.pem
    later = time.time() + 2 * DAY.total_seconds()
    monkeypatch.setattr(time, "time", lambda: later)
    assert store.reload_if_changed(102.0)
    assert served() == new.pem
    assert "a-old.pem expired" in caplog.text
    assert not store.reload_if_changed(104.0)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_not_resumed_under_the_name_of_another_certificate(
    store: TlsStore, authority: Authority, version: ssl.TLSVersion
) -> None:
    context = authority.trusting()
    context.maximum_version = version
    first = MemoryClient(store, context, "a.example").shake()
    assert first.answer(b"x") == b"x"
    second = MemoryClient(store, context, "b.example", session=first.tls.session).shake()
    assert not second.tls.session_reused
    assert second.channel.facts().server_cert != first.channel.facts().server_cert
    assert MemoryClient(store, context, "www.a.example", session=first.tls.session).shake().tls.session_reused


def test_sessions_are_resumed_whatever_the_name(store: TlsStore, authority: Authority) -> None:
    context = authority.trusting()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context.maximum_version = version
        for name in ("a.example", "default.example"):
            first = MemoryClient(store, context, name).shake()
            assert first.answer(b"x") == b"x"
            second = MemoryClient(store, context, name, session=first.tls.session).shake()
            assert second.tls.session_reused
            facts = second.channel.facts()
            assert facts.cipher is not None
            assert facts.server_cert == first.channel.facts().server_cert


@pytest.mark.spec("A-XTLS-02")
def test_numbers_of_versions_and_suites(store: TlsStore, authority: Authority) -> None:
    numbers = {
        "TLS_AES_128_GCM_SHA256": 0x1301,
        "TLS_AES_256_GCM_SHA384": 0x1302,
        "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
        "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
        "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
        "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
    }
    context = authority.trusting()
    facts = MemoryClient(store, context, "default.example").shake().channel.facts()
    assert facts.version == 0x0304
    assert facts.cipher == numbers[facts.cipher_name or ""]
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for name in list(numbers)[3:]:
        context.set_ciphers(name)
        facts = MemoryClient(store, context, "default.example").shake().channel.facts()
        assert (facts.version, facts.version_name) == (0x0303, "TLSv1.2")
        assert (facts.cipher_name, facts.cipher) == (name, numbers[name])
