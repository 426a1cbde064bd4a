"""The PROXY protocol's header: both versions, what each says, and what closes the connection."""

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.wire.proxy_header import MAX_HEADER_BYTES, ProxyHeader, crc32c

from .proxy_bytes import (
    CLIENT,
    CLIENT_6,
    DGRAM_UNIX,
    DGRAM_V4,
    DGRAM_V6,
    SERVER,
    SERVER_6,
    SIGNATURE,
    UNIX,
    V4,
    V6,
    block_4,
    block_6,
    block_unix,
    extra,
    header,
    line,
    sealed,
    slow_crc32c,
    tls_extra,
)

LINE_4 = line("TCP4", CLIENT[0], SERVER[0], CLIENT[1], SERVER[1])
LINE_6 = line("TCP6", CLIENT_6[0], SERVER_6[0], CLIENT_6[1], SERVER_6[1])
REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def read(data: bytes, version: str = "any") -> ProxyHeader:
    """Return the reader behind a whole header that nothing follows."""
    reader = ProxyHeader(version)
    assert reader.feed(data) == b""
    return reader


def refuse(data: bytes, version: str = "any") -> None:
    """See that `data` is refused, whole and byte by byte alike."""
    with pytest.raises(PeerError) as caught:
        ProxyHeader(version).feed(data)
    assert caught.value.section.startswith("PROXY protocol")
    reader = ProxyHeader(version)
    with pytest.raises(PeerError):
        for place in range(len(data)):
            assert reader.feed(data[place : place + 1]) is None, "taken byte by byte"


class TestText:
    @pytest.mark.spec("H-PP-03")
    @pytest.mark.parametrize(
        ("data", "client", "server"),
        [
            (LINE_4, CLIENT, SERVER),
            (LINE_6, CLIENT_6, SERVER_6),
            (line("TCP4", "0.0.0.0", "255.255.255.255", 0, 65535), ("0.0.0.0", 0), ("255.255.255.255", 65535)),
            (line("TCP6", "::", "::1", 1, 80), ("::", 1), ("::1", 80)),
            (line("TCP6", "2001:0DB8::000A", "FE80::1", 1, 80), ("2001:db8::a", 1), ("fe80::1", 80)),
            (line("TCP6", "::ffff:192.0.2.7", "::ffff:c633:6401", 1, 80), ("192.0.2.7", 1), ("198.51.100.1", 80)),
        ],
    )
    def test_addresses(self, data, client, server):
        reader = read(data)
        assert (reader.client, reader.server, reader.ssl) == (client, server, False)
        assert read(data, "v1").client == client

    @pytest.mark.spec("H-PP-03")
    def test_the_longest_line(self):
        host = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
        data = line("TCP6", host, host, 65535, 65535)
        assert len(data) == 104
        assert read(data).client == (host, 65535)
        longest = b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n"
        assert read(longest).server is None
        refuse(longest[:-2] + b"x\r\n")

    @pytest.mark.spec("H-PP-03")
    def test_no_line_end_within_107_bytes(self):
        reader = ProxyHeader("v1")
        assert reader.feed(b"PROXY UNKNOWN ".ljust(106, b"x")) is None
        with pytest.raises(PeerError):
            reader.feed(b"x")
        refuse(b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n", "v1")
        refuse(b"PROXY TCP4 ".ljust(108, b"1"), "v1")

    @pytest.mark.spec("H-PP-03")
    @pytest.mark.parametrize(
        "data",
        [
            LINE_4.replace(b"\r\n", b"\n"),
            LINE_4.replace(b"\r\n", b"\r "),
            LINE_4.replace(b"\r\n", b"\r\r\n"),
            LINE_4.replace(b" 443", b"\r 443"),
            LINE_4.replace(b" 443", b"\n443"),
            b"PROXY UNKNOWN a\nb\r\n",
            b"PROXY UNKNOWN a\rb\r\n",
            b"PROXY UNKNOWN\n",
            LINE_4.replace(b" 443", b"  443"),
            LINE_4.replace(b"TCP4 ", b"TCP4  "),
            LINE_4.replace(b"TCP4 ", b"TCP4\t"),
            LINE_4.replace(b"\r\n", b" \r\n"),
            LINE_4.replace(b"\r\n", b" more\r\n"),
            LINE_4.replace(b" 443", b""),
            line("TCP4"),
            line(""),
            line("TCP5", "1.2.3.4", "1.2.3.4", 1, 1),
            line("tcp4", "1.2.3.4", "1.2.3.4", 1, 1),
            line("UDP4", "1.2.3.4", "1.2.3.4", 1, 1),
            line("UNKNOWNS"),
            line("unknown"),
            b"PROXY\r\n",
            b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
            b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
            b" " + LINE_4,
            b"\r\n" + LINE_4,
            b"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        ],
    )
    def test_lines_that_are_none(self, data):
        refuse(data)
        refuse(data, "v1")

    @pytest.mark.spec("H-PP-04")
    @pytest.mark.parametrize(
        "port", ["080", "00", "+80", "-1", "8_0", "65536", "99999", "100000", "1e3", "0x50", "80.", "", "٣", "²", "a"]
    )
    def test_ports(self, port):
        refuse(f"PROXY TCP4 192.0.2.7 198.51.100.1 {port} 443\r\n".encode())
        refuse(f"PROXY TCP4 192.0.2.7 198.51.100.1 443 {port}\r\n".encode())

    @pytest.mark.spec("H-PP-04")
    @pytest.mark.parametrize(
        "host",
        ["01.2.3.4", "1.2.3.04", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4/32", "0x1.2.3.4", "1", "+1.2.3.4",
         "1.2.3.1_0", "localhost", "", "::1", "2001:db8::1", "1.2.3.٤", "1.2.3.4%eth0", "[1.2.3.4]", "000.2.3.4"],
    )  # fmt: skip
    def test_addresses_that_are_no_ipv4(self, host):
        refuse(f"PROXY TCP4 {host} 198.51.100.1 1 2\r\n".encode())
        refuse(f"PROXY TCP4 198.51.100.1 {host} 1 2\r\n".encode())

    @pytest.mark.spec("H-PP-04")
    @pytest.mark.parametrize(
        "host",
        ["1.2.3.4", "::g", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "[::1]", "fe80::1%eth0", "::1/128",
         "12345::", "", "localhost", "::ffff:1.2.3", "::ffff:01.2.3.4", "::٣"],
    )  # fmt: skip
    def test_addresses_that_are_no_ipv6(self, host):
        refuse(f"PROXY TCP6 {host} ::1 1 2\r\n".encode())
        refuse(f"PROXY TCP6 ::1 {host} 1 2\r\n".encode())

    @pytest.mark.spec("H-PP-05")
    @pytest.mark.parametrize("more", [b"", b" ", b" 1.2.3.4 5.6.7.8 1 2", b" ffff::1  \xff\0 +80", b" UNKNOWN"])
    def test_unknown_is_accepted_and_says_nothing(self, more):
        for version in ("v1", "any"):
            reader = read(b"PROXY UNKNOWN" + more + b"\r\n", version)
            assert (reader.client, reader.server) == (None, None)


class TestBinary:
    @pytest.mark.spec("H-PP-06", "H-PP-07")
    @pytest.mark.parametrize(
        ("data", "client", "server"),
        [
            (header(V4, block_4()), CLIENT, SERVER),
            (header(V6, block_6()), CLIENT_6, SERVER_6),
            (
                header(V4, block_4(("0.0.0.0", 0), ("255.255.255.255", 65535))),
                ("0.0.0.0", 0),
                ("255.255.255.255", 65535),
            ),
            (header(V6, block_6(("::ffff:192.0.2.7", 1), ("::1", 2))), ("192.0.2.7", 1), ("::1", 2)),
            (header(UNIX, block_unix(b"/c", b"/run/site.sock")), None, ("/run/site.sock", None)),
            (header(UNIX, block_unix(server=b"\0site")), None, ("@site", None)),
            (header(UNIX, block_unix(server=b"")), None, ("", None)),
            (header(UNIX, block_unix(server=b"x" * 108)), None, ("x" * 108, None)),
            (header(UNIX, block_unix(server=b"/\xff")), None, ("/\ufffd", None)),
        ],
    )
    def test_addresses(self, data, client, server):
        reader = read(data)
        assert (reader.client, reader.server, reader.ssl) == (client, server, False)
        assert read(data, "v2").server == server

    @pytest.mark.spec("H-PP-06")
    @pytest.mark.parametrize("family", [0x00, V4, 0x12, 0x7F, 0xFF])
    @pytest.mark.parametrize("block", [b"", block_4(), b"\xff" * 7, b"\x03\0\x04abcd"])
    def test_local_keeps_the_real_addresses_whatever_it_holds(self, family, block):
        reader = read(header(family, block, command=0))
        assert (reader.client, reader.server) == (None, None)

    @pytest.mark.spec("H-PP-07")
    @pytest.mark.parametrize(
        "data",
        [
            header(0x00, b""),
            header(0x00, b"anything at all"),
            header(DGRAM_V4, block_4()),
            header(DGRAM_V6, block_6()),
            header(DGRAM_UNIX, block_unix()),
        ],
    )
    def test_no_stream_addresses_keep_the_real_ones(self, data):
        reader = read(data)
        assert (reader.client, reader.server) == (None, None)

    @pytest.mark.spec("H-PP-07")
    def test_unassigned_families_are_refused(self):
        known = {0x00, V4, V6, UNIX, DGRAM_V4, DGRAM_V6, DGRAM_UNIX}
        for family in set(range(256)) - known:
            with pytest.raises(PeerError):
                ProxyHeader("v2").feed(header(family, bytes(216)))

    @pytest.mark.spec("H-PP-06")
    @pytest.mark.parametrize("version", [0, 1, 3, 15])
    def test_other_versions_are_refused_at_once(self, version):
        refuse(header(V4, block_4(), version=version)[:13])

    @pytest.mark.spec("H-PP-06")
    @pytest.mark.parametrize("command", range(2, 16))
    def test_other_commands_are_refused_at_once(self, command):
        refuse(header(V4, block_4(), command=command)[:13])

    @pytest.mark.spec("H-PP-06")
    @pytest.mark.parametrize("place", range(1, 12))
    def test_a_signature_with_one_wrong_byte_is_refused_at_that_byte(self, place):
        wrong = SIGNATURE[:place] + bytes([SIGNATURE[place] ^ 1])
        reader = ProxyHeader("v2")
        assert reader.feed(wrong[:-1]) is None
        with pytest.raises(PeerError):
            reader.feed(wrong[-1:])
        refuse(wrong)

    @pytest.mark.spec("H-PP-08")
    @pytest.mark.parametrize(
        ("family", "block"), [(V4, block_4()), (V6, block_6()), (UNIX, block_unix()), (DGRAM_V4, block_4())]
    )
    def test_addresses_cut_short_are_refused(self, family, block):
        for size in {0, 1, len(block) // 2, len(block) - 1}:
            refuse(header(family, block[:size]))

    @pytest.mark.spec("H-PP-08")
    def test_the_length_is_honoured_exactly(self):
        reader = ProxyHeader("v2")
        assert reader.feed(header(V4, block_4() + extra(0xEA, b"vpce-1")) + REQUEST) == REQUEST
        assert reader.client == CLIENT

    @pytest.mark.spec("H-PP-08")
    @pytest.mark.parametrize(
        "extras",
        [b"\x01", b"\x01\0", b"\x01\0\x01", b"\x01\0\x05abcd", extra(1, b"h2") + b"\x02\xff\xffab", b"\0\0\0\0"],
    )
    def test_fields_that_overrun_the_header_are_refused(self, extras):
        refuse(header(V4, block_4() + extras))
        refuse(header(DGRAM_V4, block_4() + extras))

    @pytest.mark.spec("H-PP-08")
    @pytest.mark.parametrize("extras", [extra(4, b""), extra(4, bytes(300)), extra(1, b"h2") + extra(0xFF, b"x") * 20])
    def test_fields_are_passed_over(self, extras):
        assert read(header(V6, block_6() + extras)).client == CLIENT_6

    @pytest.mark.spec("H-PP-08")
    def test_the_size_is_bounded_and_refused_before_it_comes(self):
        most = MAX_HEADER_BYTES - 16
        assert read(header(V4, block_4() + extra(4, bytes(most - 12 - 3)))).client == CLIENT
        assert read(header(0, bytes(most), command=0)).server is None
        for length in (most + 1, 65535):
            refuse(header(V4, b"", length=length))
            refuse(header(0, b"", command=0, length=length))

    @pytest.mark.spec("H-PP-09")
    @pytest.mark.parametrize(
        ("before", "after"), [(b"", b""), (extra(1, b"h2"), extra(4, bytes(40))), (tls_extra(), b"")]
    )
    def test_a_checksum_is_verified(self, before, after):
        data = sealed(V4, block_4(), before, after)
        assert read(data).client == CLIENT
        for place in range(16, len(data)):
            changed = data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]
            reader = ProxyHeader("v2")
            try:
                done = reader.feed(changed)
            except PeerError:
                continue
            # Only a change that turns the checksum into another field can pass.
            assert place == 28 + len(before), done

    @pytest.mark.spec("H-PP-09")
    def test_checksums_of_another_form_are_refused(self):
        refuse(header(V4, block_4() + extra(3, b"abc")))
        refuse(header(V4, block_4() + extra(3, b"abcde")))
        twice = sealed(V4, block_4(), after=extra(3, bytes(4)))
        refuse(twice)

    @pytest.mark.spec("H-PP-09")
    def test_the_checksum_is_crc32c(self):
        # RFC 3720 B.4
        assert crc32c(bytes(32)) == slow_crc32c(bytes(32)) == 0x8A9136AA
        assert crc32c(b"\xff" * 32) == 0x62A8AB43
        assert crc32c(bytes(range(32))) == 0x46DD794E
        assert crc32c(b"") == 0

    @pytest.mark.spec("H-PP-09")
    @pytest.mark.parametrize(("bits", "ssl"), [(0, False), (1, True), (5, True), (6, False), (7, True)])
    def test_tls_of_the_client_is_noted(self, bits, ssl):
        more = extra(0x21, b"TLSv1.3") + extra(0x22, b"client name")
        assert read(header(V4, block_4() + tls_extra(bits, more))).ssl is ssl

    @pytest.mark.spec("H-PP-09")
    @pytest.mark.parametrize("value", [b"", b"\1\0\0\0", b"\1\0\0\0\0\x21", b"\1\0\0\0\0\x21\0\x05abcd"])
    def test_tls_parts_that_are_malformed_are_refused(self, value):
        refuse(header(V4, block_4() + extra(0x20, value)))


class TestReading:
    ALL = (
        LINE_4,
        LINE_6,
        b"PROXY UNKNOWN\r\n",
        header(V4, block_4()),
        header(0, b"", command=0),
        sealed(V6, block_6()),
    )

    @pytest.mark.spec("H-PP-10")
    @pytest.mark.parametrize("data", ALL)
    def test_every_split_gives_the_same_and_the_rest_is_whole(self, data):
        whole = ProxyHeader("any")
        assert whole.feed(data + REQUEST) == REQUEST
        for place in range(1, len(data)):
            reader = ProxyHeader("any")
            assert reader.feed(data[:place]) is None
            assert reader.feed(data[place:] + REQUEST) == REQUEST
            assert (reader.client, reader.server, reader.ssl) == (whole.client, whole.server, whole.ssl)

    @pytest.mark.spec("H-PP-10")
    @pytest.mark.parametrize("data", ALL)
    def test_single_bytes_and_nothing_in_between(self, data):
        reader = ProxyHeader("any")
        for place in range(len(data) - 1):
            assert reader.feed(b"") is None
            assert reader.feed(data[place : place + 1]) is None
        assert reader.feed(data[-1:]) == b""

    @pytest.mark.spec("H-PP-10")
    @pytest.mark.parametrize("data", ALL)
    @pytest.mark.parametrize("rest", [b"\r", b"\n", b"\r\n\r\n\0", b"\x16\x03\x01\x02\0", LINE_4, bytes(70000)])
    def test_what_follows_is_not_looked_at(self, data, rest):
        assert ProxyHeader("any").feed(data + rest) == rest

    @pytest.mark.spec("H-PP-01")
    @pytest.mark.parametrize("version", ["v1", "v2", "any"])
    @pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"PRI * HTTP/2.0", b"\n", b"\0", b"POST"])
    def test_anything_else_is_refused(self, version, data):
        refuse(data, version)

    @pytest.mark.spec("H-PP-01")
    def test_only_the_expected_version_is_taken(self):
        refuse(header(V4, block_4()), "v1")
        refuse(LINE_4, "v2")
        assert read(LINE_4, "v1").client == read(header(V4, block_4()), "v2").client == CLIENT

    @pytest.mark.spec("H-PP-01")
    @pytest.mark.parametrize("first", [each for each in range(256) if each not in b"P\r"])
    def test_the_first_byte_shows_it(self, first):
        with pytest.raises(PeerError):
            ProxyHeader("any").feed(bytes([first]))
