"""Loading certificates: what is wrong is said with the option, the file and the remedy."""

import logging
import os
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.net.certificates import open_store
from trilithon.net.tls_x509 import Leaf

from .tls_authority import DAY, Authority, Signed
from .tls_memory import MemoryClient

ROOT = Path(__file__).parents[2]
TLS_1_2 = ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Sign everything in this file."""
    return Authority()


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    """Return a certificate for localhost."""
    return authority.server("localhost")


@pytest.fixture
def site(signed: Signed, tmp_path: Path) -> Path:
    """Return a directory with a good pair and many bad files."""
    signed.write(tmp_path / "both.pem")
    signed.write(tmp_path / "locked.pem", "secret")
    (tmp_path / "cert.pem").write_text(signed.pem)
    (tmp_path / "key.pem").write_text(signed.key_pem)
    (tmp_path / "other.key").write_text(Authority().server("localhost").key_pem)
    (tmp_path / "nothing.pem").write_text("nothing")
    (tmp_path / "binary.der").write_bytes(signed.certificate.public_bytes(serialization.Encoding.DER))
    (tmp_path / "cut.pem").write_text(signed.pem[:200])
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
    (tmp_path / "broken.key").write_text("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
    (tmp_path / "word").write_text("secret\nand a second line\n")
    (tmp_path / "wrong-word").write_text("other\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "site.crt").write_text(signed.pem)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "chain.pem").write_text(signed.pem)
    (tmp_path / "piped").mkdir()
    for pipe in ("pipe", "piped/site.pem"):
        os.mkfifo(tmp_path / pipe)
    return tmp_path


def opened(site: Path, **options: Any) -> Any:
    """Open a store with options that name files of the directory `site`."""
    return open_store(Options(**{name: _path(site, value) for name, value in options.items()}), ["http/1.1"])


def _path(site: Path, value: str) -> str:
    return value if value in ("required", "1.2", "1.3", "NO-SUCH") or ":" in value else str(site / value)


@pytest.mark.parametrize(
    "options",
    [
        {"certfile": "both.pem"},
        {"certfile": "cert.pem", "keyfile": "key.pem"},
        {"certfile": "both.pem", "keyfile": "key.pem"},
        {"certfile": "locked.pem", "keyfile_password_file": "word"},
        {"certfile": "both.pem", "ca_certs": "cert.pem", "client_certs": "required"},
        {"certfile": "both.pem", "ciphers": "ECDHE+AESGCM:!aNULL"},
        {"certfile": "both.pem", "ciphers": "HIGH:!aNULL:!eNULL"},
        {"certfile": "both.pem", "ciphers": "DEFAULT:!PSK"},
        {"certfile": "both.pem", "tls_min_version": "1.3"},
    ],
)
def test_good_ones_are_loaded(site: Path, authority: Authority, options: dict[str, str]) -> None:
    store = opened(site, **options)
    assert store.table.contexts[0].leaf.names == ("localhost",)


def test_the_password_can_be_given_itself(site: Path, authority: Authority) -> None:
    store = open_store(Options(certfile=str(site / "locked.pem"), keyfile_password="secret"), [])
    assert MemoryClient(store, authority.trusting()).shake().answer(b"x") == b"x"


@pytest.mark.parametrize(
    ("options", "option", "file", "remedy"),
    [
        ({"certfile": "missing.pem"}, "certfile", "missing.pem", "cannot be read: No such file"),
        ({"certfile": "empty"}, "certfile", "empty", "is no regular file"),
        ({"certfile": "pipe"}, "certfile", "pipe", "is no regular file"),
        ({"certfile": "cert.pem", "keyfile": "pipe"}, "keyfile", "pipe", "is no regular file"),
        (
            {"certfile": "locked.pem", "keyfile_password_file": "pipe"},
            "keyfile_password_file",
            "pipe",
            "no regular file",
        ),
        ({"cert_dir": "piped"}, "cert_dir", "piped/site.pem", "is no regular file"),
        (
            {"certfile": "both.pem", "client_certs": "required", "ca_certs": "pipe"},
            "ca_certs",
            "pipe",
            "is no regular file",
        ),
        ({"certfile": "nothing.pem"}, "certfile", "nothing.pem", "holds no certificate in PEM"),
        ({"certfile": "binary.der"}, "certfile", "binary.der", "holds no certificate in PEM"),
        ({"certfile": "cut.pem"}, "certfile", "cut.pem", "holds no certificate in PEM"),
        ({"certfile": "broken.pem", "keyfile": "key.pem"}, "certfile", "broken.pem", "holds a certificate that"),
        ({"certfile": "cert.pem"}, "certfile", "cert.pem", "holds no private key in PEM; name its file with keyfile"),
        ({"certfile": "cert.pem", "keyfile": "gone.key"}, "keyfile", "gone.key", "cannot be read: No such file"),
        ({"certfile": "cert.pem", "keyfile": "cert.pem"}, "certfile", "cert.pem", "holds no private key in PEM"),
        ({"certfile": "cert.pem", "keyfile": "nothing.pem"}, "keyfile", "nothing.pem", "holds no private key in PEM"),
        ({"certfile": "cert.pem", "keyfile": "broken.key"}, "certfile", "cert.pem", "is damaged; copy both anew"),
        (
            {"certfile": "cert.pem", "keyfile": "other.key"},
            "keyfile",
            "other.key",
            "is not the key of the first",
        ),
        ({"certfile": "locked.pem"}, "certfile", "locked.pem", "the key has a password; give it with"),
        (
            {"certfile": "locked.pem", "keyfile_password_file": "wrong-word"},
            "certfile",
            "locked.pem",
            "keyfile_password does not open the key",
        ),
        (
            {"certfile": "locked.pem", "keyfile_password_file": "no-word"},
            "keyfile_password_file",
            "no-word",
            "cannot be read: No such file",
        ),
        ({"cert_dir": "missing"}, "cert_dir", "missing", "cannot be read: No such file"),
        ({"cert_dir": "both.pem"}, "cert_dir", "both.pem", "cannot be read: Not a directory"),
        ({"cert_dir": "empty"}, "cert_dir", "empty", "holds no certificate: NAME.pem"),
        ({"cert_dir": "bare"}, "cert_dir", "bare/chain.pem", "holds no private key in PEM; put it beside as NAME.key"),
        ({"cert_dir": "half"}, "cert_dir", "half/site.crt", "its key is missing, which should be site.key"),
        (
            {"certfile": "both.pem", "client_certs": "required", "ca_certs": "none.pem"},
            "ca_certs",
            "none.pem",
            "cannot be read: No such file",
        ),
        (
            {"certfile": "both.pem", "client_certs": "required", "ca_certs": "nothing.pem"},
            "ca_certs",
            "nothing.pem",
            "holds no certificate in PEM",
        ),
        ({"certfile": "both.pem", "ciphers": "NO-SUCH"}, "ciphers", "", "OpenSSL knows no such suites"),
        ({"certfile": "both.pem", "ciphers": "NULL:eNULL"}, "ciphers", "", "does not encrypt; append :!aNULL:!eNULL"),
        ({"certfile": "both.pem", "ciphers": "ECDHE+AESGCM:eNULL"}, "ciphers", "", "does not encrypt; append"),
        ({"certfile": "both.pem", "ciphers": "aNULL:+ADH"}, "ciphers", "", "lets anybody pass for the server; append"),
        ({"certfile": "both.pem", "ciphers": "HIGH:@STRENGTH"}, "ciphers", "", "append :!aNULL:!eNULL"),
    ],
    ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
)
def test_bad_ones_are_named(site: Path, options: dict[str, str], option: str, file: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(site, **options)
    assert caught.value.option == option
    assert remedy in caught.value.remedy
    assert not file or caught.value.value == str(site / file)
    assert "secret" not in str(caught.value)


def test_an_expired_certificate_is_served_with_a_warning(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = authority.server("localhost", valid=-DAY).write(tmp_path / "old.pem")
    with caplog.at_level(logging.WARNING, "trilithon.error"):
        open_store(Options(certfile=path), [])
    assert [f"{path} expired on" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.spec("H2-CONN-04")
def test_the_suites_of_a_default_server(site: Path) -> None:
    context = opened(site, certfile="both.pem").table.contexts[0]
    suites = {suite["name"]: suite for suite in context.get_ciphers()}
    assert {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_128_GCM_SHA256"} <= set(suites)
    assert all(suite["aead"] and suite["kea"] in ("kx-ecdhe", "kx-any") for suite in suites.values())
    for flag in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION):
        assert context.options & flag
    assert not context.options & ssl.OP_NO_TICKET


@pytest.mark.spec("H2-CONN-04")
@pytest.mark.parametrize("key", ["ec", "rsa"])
def test_what_http2_demands_is_there_on_tls_1_2(authority: Authority, tmp_path: Path, key: str) -> None:
    store = open_store(Options(certfile=authority.server("localhost", key=key).write(tmp_path / "site.pem")), ["h2"])
    context = authority.trusting()
    context.maximum_version = TLS_1_2
    context.set_ciphers(f"ECDHE-{'RSA' if key == 'rsa' else 'ECDSA'}-AES128-GCM-SHA256")
    context.set_ecdh_curve("prime256v1")
    context.set_alpn_protocols(["h2"])
    assert MemoryClient(store, context).shake().tls.selected_alpn_protocol() == "h2"


@pytest.mark.spec("H2-CONN-04")
@pytest.mark.parametrize(("least", "most"), [("1.2", "TLSv1_1"), ("1.3", "TLSv1_2")])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_older_versions_are_refused(site: Path, authority: Authority, least: str, most: str) -> None:
    store = opened(site, certfile="both.pem", tls_min_version=least)
    context = authority.trusting()
    context.minimum_version = context.maximum_version = ssl.TLSVersion[most]
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    client = MemoryClient(store, context)
    with pytest.raises(OSError, match="unsupported protocol"):
        client.shake()
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        client.tls.do_handshake()


def test_sessions_are_resumed_after_a_fork(site: Path, authority: Authority) -> None:
    (site / "ca.pem").write_text(authority.pem)
    script = f"""
        import os, ssl
        from tests.net.tls_memory import MemoryClient
        from trilithon.foundation.options import Options
        from trilithon.net.certificates import open_store
        store = open_store(Options(certfile={str(site / "both.pem")!r}), [])
        context = ssl.create_default_context(cafile={str(site / "ca.pem")!r})
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        first = MemoryClient(store, context).shake()
        first.answer(b"x")
        child = os.fork()
        reused = MemoryClient(store, context, session=first.tls.session).shake().tls.session_reused
        if not child:
            os._exit(7 if reused else 1)
        assert reused and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=50, cwd=ROOT)


def test_leaves_are_read_as_the_library_reads_them(authority: Authority) -> None:
    certificates = [
        authority.server("one.example", "*.Two.example", "three.example"),
        authority.server("rsa.example", key="rsa"),
        authority.server(),
        authority.server("far.example", valid=DAY * 365 * 40),
        authority.client(),
        authority.server("old.example", since=DAY * 365 * 40, valid=-DAY * 365 * 30),
    ]
    for signed in certificates:
        leaf = Leaf("some text\n" + signed.pem + authority.pem)
        certificate = signed.certificate
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            assert leaf.names == ()
        else:
            assert list(leaf.names) == [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        assert leaf.pem == signed.pem
        assert leaf.valid_from == certificate.not_valid_before_utc.timestamp()
        assert leaf.valid_until == certificate.not_valid_after_utc.timestamp()


def test_a_cut_off_certificate_is_no_certificate(signed: Signed) -> None:
    der = signed.certificate.public_bytes(serialization.Encoding.DER)
    for length in range(0, len(der), 5):
        with pytest.raises(ValueError, match="holds"):
            Leaf(ssl.DER_cert_to_PEM_cert(der[:length]))
