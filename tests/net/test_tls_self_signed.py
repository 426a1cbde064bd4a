"""The certificate for development: what it holds, that it serves, and that nothing of it stays behind."""

import hashlib
import ipaddress
import logging
import ssl
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from trilithon.foundation.addresses import parse_address
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.net import self_signed
from trilithon.net.certificates import open_store
from trilithon.net.self_signed import VALID_DAYS, make_pem, names_for

from .tls_memory import MemoryClient


def test_names_are_those_of_the_addresses() -> None:
    addresses = ["127.0.0.1:0", "[::1]:80", "192.0.2.7:80", "Site.example:80", "unix:/run/a.sock", "fd:3"]
    names = names_for(parse_address(text) for text in addresses)
    assert names == ["localhost", "127.0.0.1", "::1", "192.0.2.7", "site.example"]


@pytest.mark.parametrize("address", [":443", "0.0.0.0:443", "[::]:443"])
def test_every_interface_stands_for_the_machine(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_signed.socket, "gethostname", lambda: "Workbench")
    assert names_for([parse_address(address)]) == ["localhost", "127.0.0.1", "::1", "workbench"]


def test_the_certificate_is_short_lived_and_for_servers() -> None:
    certificate = x509.load_pem_x509_certificate(make_pem(["localhost", "::1"]))
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert VALID_DAYS <= validity.days <= VALID_DAYS + 1
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("::1")]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_client_that_trusts_it_is_served(
    name: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with caplog.at_level(logging.INFO, "trilithon.error"):
        store = open_store(Options(self_signed=True), ["h2"])
    pem = store.table.contexts[0].leaf.pem
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    client = MemoryClient(store, context, name).shake()
    assert client.answer(b"x") == b"x"
    fingerprint = hashlib.sha256(client.tls.getpeercert(True) or b"").digest().hex(":").upper()
    (record,) = caplog.records
    assert fingerprint in record.getMessage()
    assert "PRIVATE" not in record.getMessage()
    assert not list(tmp_path.iterdir())
    assert not store.reload_if_changed(1e9)


def test_its_file_is_private_and_gone_whatever_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[int] = []

    def fail(context: Any, pair: Any, password: str) -> None:
        seen.append(stat.S_IMODE(Path(pair.certfile).stat().st_mode))
        raise ConfigError("self_signed", True, "fails here")

    monkeypatch.setattr(self_signed, "load_pair", fail)
    with pytest.raises(ConfigError, match="fails here"):
        open_store(Options(self_signed=True), [])
    assert seen == [0o600]
    assert not list(tmp_path.iterdir())


def test_without_the_library_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'trilithon\[tls\]'"):
        open_store(Options(self_signed=True), [])
