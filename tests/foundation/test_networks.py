"""Sets of peers: every form that is read, who is in them, and what is refused with a remedy."""

import ipaddress
import random

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.networks import KEPT_ANSWERS, read_address, read_networks


def networks(*texts: str):
    """Return the set that the texts name."""
    return read_networks(texts, "trusted_proxies")


@pytest.mark.spec("H-FWD-01")
@pytest.mark.parametrize(
    ("texts", "inside", "outside"),
    [
        (["127.0.0.1"], ["127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"], ["127.0.0.2", "::1", "0.0.0.0"]),
        (["::1"], ["::1", "0:0:0:0:0:0:0:1"], ["127.0.0.1", "::", "::2"]),
        (["10.0.0.0/8"], ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], ["11.0.0.0", "9.255.255.255", "::a00:1"]),
        (["2001:db8::/32"], ["2001:db8::", "2001:db8:ffff::1"], ["2001:db9::", "2001:db7:ffff::1", "32.1.13.184"]),
        (["fe80::/10"], ["fe80::1", "fe80::1%eth0", "febf::1"], ["fec0::1"]),
        (["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
        (["::/0"], ["::", "2001:db8::1"], ["1.2.3.4", "::ffff:1.2.3.4"]),
        (["::ffff:192.0.2.0/120"], ["192.0.2.0", "192.0.2.255"], ["192.0.3.0", "::192.0.2.1"]),
        (["::ffff:192.0.2.7"], ["192.0.2.7"], ["192.0.2.8"]),
        (["::ffff:0.0.0.0/96"], ["0.0.0.0", "255.255.255.255"], ["::1", "::fffe:1.2.3.4"]),
        (
            ["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "192.0.2.3"],
            ["10.1.2.3", "192.0.2.1", "192.0.2.3"],
            ["192.0.2.2"],
        ),
        ([], [], ["127.0.0.1", "::1"]),
    ],
)
def test_addresses_inside_and_outside(texts, inside, outside):
    trusted = networks(*texts)
    for _ in range(2):
        assert [host for host in inside if not trusted.covers(host)] == []
        assert [host for host in outside if trusted.covers(host)] == []
    assert all(trusted.trusts((host, 1)) for host in inside)
    assert not any(trusted.trusts((host, 1)) for host in [*outside, "", "unix", "localhost"])


@pytest.mark.spec("H-FWD-01")
def test_unix_sockets_and_everybody():
    assert networks("unix").trusts(None)
    assert not networks("127.0.0.1").trusts(None)
    assert not networks("unix").trusts(("127.0.0.1", 1))
    everybody = networks("*")
    assert everybody.trusts(None) and everybody.trusts(("192.0.2.7", 1)) and everybody.trusts(("::1", 1))
    assert not everybody.covers("192.0.2.7"), "* is about who connects, not about what is written in a field"


@pytest.mark.parametrize(
    "text", ["", "x", "unknown", "1.2.3", "1.2.3.04", "1.2.3.4:80", "[::1]", "::g", "1" * 5000, "\0"]
)
def test_what_is_no_address_is_in_no_set(text):
    assert not networks("0.0.0.0/0", "::/0").covers(text)
    assert read_address(text) is None


def test_addresses_are_read_in_one_form():
    assert str(read_address("2001:DB8::0001")) == "2001:db8::1"
    assert str(read_address("::ffff:192.0.2.1")) == "192.0.2.1"
    assert read_address("fe80::1%eth0") is None


def test_answers_are_those_of_the_standard_library():
    chance = random.Random(4)
    for _ in range(60):
        picked = []
        for _ in range(chance.randrange(1, 8)):
            bits = chance.choice((32, 128))
            number = chance.getrandbits(bits)
            address = (ipaddress.IPv4Address if bits == 32 else ipaddress.IPv6Address)(number)
            picked.append(ipaddress.ip_network((address, chance.randrange(bits + 1)), strict=False))
        trusted = networks(*(str(each) for each in picked))
        for _ in range(60):
            near = int(chance.choice(picked).network_address) ^ (1 << chance.randrange(32))
            host = ipaddress.ip_address(chance.choice((near, chance.getrandbits(32), chance.getrandbits(128))) % 2**128)
            expected = any(host in each for each in picked)
            assert trusted.covers(str(host)) is expected, (host, picked)


def test_the_memory_of_answers_is_bounded():
    trusted = networks("10.0.0.0/8")
    for number in range(3 * KEPT_ANSWERS):
        assert trusted.covers(f"10.0.{number >> 8}.{number & 255}")
        assert not trusted.covers(f"11.0.{number >> 8}.{number & 255}")
    assert len(trusted.answers) <= KEPT_ANSWERS


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("2001:db8::1/32", "write 2001:db8::/32"),
        ("localhost", "names are not looked up"),
        ("", "an IP address, a network"),
        ("10.0.0.0/33", "an IP address, a network"),
        ("10.0.0", "an IP address, a network"),
        ("010.0.0.1", "an IP address, a network"),
        ("unix:/run/site.sock", "unix alone"),
        ("fe80::1%eth0", "without the zone"),
        ("10.0.0.*", "an IP address, a network"),
        ("127.0.0.1:80", "an IP address, a network"),
    ],
)
def test_other_forms_are_refused_with_a_remedy(text, remedy):
    with pytest.raises(ConfigError, match="trusted_proxies") as caught:
        networks("127.0.0.1", text)
    assert remedy in caught.value.remedy
    assert caught.value.value == text
