"""Bind addresses: every form that is read, every form that is refused, with a remedy."""

import pytest

from trilithon.foundation.addresses import MAX_UNIX_PATH_BYTES, Address, AddressKind, parse_address
from trilithon.foundation.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address(AddressKind.TCP, host="127.0.0.1", port=8000)),
        ("localhost:80", Address(AddressKind.TCP, host="localhost", port=80)),
        ("site_1.internal:0", Address(AddressKind.TCP, host="site_1.internal", port=0)),
        (":8000", Address(AddressKind.TCP, host="", port=8000)),
        ("*:8000", Address(AddressKind.TCP, host="", port=8000)),
        ("[::1]:8000", Address(AddressKind.TCP, host="::1", port=8000)),
        ("[fe80::1%eth0]:8000", Address(AddressKind.TCP, host="fe80::1%eth0", port=8000)),
        ("unix:/run/site.sock", Address(AddressKind.UNIX, path="/run/site.sock")),
        ("unix:site.sock", Address(AddressKind.UNIX, path="site.sock")),
        ("unix:///run/site.sock", Address(AddressKind.UNIX, path="/run/site.sock")),
        ("fd:3", Address(AddressKind.FD, fd=3)),
        ("fd://3", Address(AddressKind.FD, fd=3)),
    ],
)
def test_forms_that_are_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:8000", ":80", "unix:/run/site.sock", "fd:3"])
def test_an_address_writes_the_form_it_was_read_from(text):
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("8000", "127.0.0.1:8000"),
        ("localhost", "port is missing"),
        ("localhost:", "0 to 65535"),
        ("localhost:http", "0 to 65535"),
        ("localhost:65536", "0 to 65535"),
        ("localhost:-1", "0 to 65535"),
        ("::1:8000", "brackets"),
        ("[::g]:8000", "IPv6 address"),
        ("[127.0.0.1]:8000", "IPv6 address"),
        ("bad host:80", "neither a host name"),
        ("http://localhost:80", "brackets"),
        ("unix:", "path of a socket"),
        ("unix:a\0b", "path of a socket"),
        ("unix:" + "x" * (MAX_UNIX_PATH_BYTES + 1), "shorter"),
        ("fd:", "number of an open descriptor"),
        ("fd:x", "number of an open descriptor"),
        ("", "port is missing"),
        ("localhost:٣", "0 to 65535"),
    ],
)
def test_forms_that_are_refused_name_the_remedy(text, remedy):
    with pytest.raises(ConfigError, match=remedy) as caught:
        parse_address(text)

    assert caught.value.option == "bind"
    assert caught.value.value == text
