"""The options of TLS: what goes together and what does not."""

from typing import Any

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import BY_NAME, Options
from trilithon.foundation.tls_options import uses_tls

CERT = {"certfile": "cert.pem"}


def test_tls_is_off_until_there_is_a_certificate() -> None:
    assert not uses_tls(Options())
    assert uses_tls(Options(certfile="cert.pem"))
    assert uses_tls(Options(cert_dir="certificates"))
    assert uses_tls(Options(self_signed=True))


@pytest.mark.parametrize(
    "values",
    [
        {**CERT, "keyfile": "key.pem", "keyfile_password": "secret"},
        {**CERT, "cert_dir": "certificates", "keyfile_password_file": "word"},
        {**CERT, "client_certs": "optional", "ca_certs": "ca.pem"},
        {**CERT, "tls_min_version": "1.3", "cert_reload_s": 0},
        {**CERT, "ciphers": "ECDHE+AESGCM"},
        {"self_signed": True, "client_certs": "required", "ca_certs": "ca.pem", "tls_min_version": "1.3"},
        {"cert_dir": "certificates", "keyfile_password": "secret"},
    ],
)
def test_what_goes_together(values: dict[str, Any]) -> None:
    options = Options(**values)
    assert {name: getattr(options, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "option", "remedy"),
    [
        ({"keyfile": "key.pem"}, "keyfile", "TLS, which is off; name a certificate with certfile"),
        ({"keyfile": "key.pem", "cert_dir": "some"}, "keyfile", "name that with certfile"),
        ({"keyfile": "key.pem", "self_signed": True}, "keyfile", "name that with certfile"),
        ({"keyfile_password": "secret"}, "keyfile_password", "there is no key"),
        ({"keyfile_password_file": "word"}, "keyfile_password_file", "TLS, which is off"),
        (
            {**CERT, "keyfile_password": "secret", "keyfile_password_file": "word"},
            "keyfile_password_file",
            "keyfile_password is given too",
        ),
        ({"ca_certs": "ca.pem"}, "ca_certs", "TLS, which is off"),
        ({"ciphers": "ALL"}, "ciphers", "TLS, which is off"),
        ({"client_certs": "required"}, "client_certs", "TLS, which is off"),
        ({"tls_min_version": "1.3"}, "tls_min_version", "TLS, which is off"),
        ({**CERT, "ca_certs": "ca.pem"}, "ca_certs", "set client_certs to optional or required"),
        ({**CERT, "client_certs": "required"}, "client_certs", "needs ca_certs"),
        ({**CERT, "client_certs": "mandatory"}, "client_certs", "must be one of none, optional, required"),
        ({**CERT, "tls_min_version": "1.0"}, "tls_min_version", "must be one of 1.2, 1.3"),
        ({**CERT, "ciphers": "ALL", "tls_min_version": "1.3"}, "ciphers", "which tls_min_version = 1.3 rules out"),
        ({**CERT, "self_signed": True}, "self_signed", "makes its own certificate; remove it or certfile"),
        ({"cert_dir": "some", "self_signed": True}, "self_signed", "remove it or cert_dir"),
        ({"keyfile_password": "secret", "self_signed": True}, "self_signed", "remove it or keyfile_password"),
        ({**CERT, "tls_handshake_timeout_s": -1}, "tls_handshake_timeout_s", "0 means no limit"),
        ({**CERT, "cert_reload_s": -1}, "cert_reload_s", "0 means never"),
    ],
)
def test_what_does_not_go_together(values: dict[str, Any], option: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(**values)
    assert caught.value.option == option
    assert remedy in caught.value.remedy
    assert "secret" not in str(caught.value)


def test_the_password_is_never_written_out() -> None:
    option = BY_NAME["keyfile_password"]
    assert option.secret
    assert "secret" not in option.write("secret")
    with pytest.raises(ConfigError) as caught:
        Options(certfile="cert.pem", keyfile_password=4711)
    assert "4711" not in str(caught.value)
