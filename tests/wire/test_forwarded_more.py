"""Forwarded hosts and prefixes, what is remembered, chance against a plain reading, and what the walk may cost."""

import random
import time

import pytest

from trilithon.wire.exchange import Peer
from trilithon.wire.forwarded import KEPT_VERDICTS

from .forwarding import (
    HERE,
    PROXY,
    UNTOUCHED,
    Seen,
    forwarded,
    forwarded_for,
    forwarding,
    reference_for,
    reference_forwarded,
    request,
    see,
)

SHARE = "X-Forwarded-"


def host_of(applied, *lines: str, host: str = "inner") -> tuple[bytes | None, list[bytes]]:
    """Return what the head of a request says of its host, and all Host lines that an application sees."""
    exchange = request(*lines, host=host)
    applied.apply(exchange)
    return exchange.head.host, [value for name, value in exchange.head.fields if name == b"host"]


def prefix_of(*lines: str, prefix: bool = True) -> str:
    """Return the root path that a request gets."""
    exchange = request(*lines)
    forwarding(prefix=prefix).apply(exchange)
    return exchange.root_path


class TestHost:
    @pytest.mark.spec("H-FWD-08")
    def test_off_by_default(self):
        lines = (SHARE + "Host: public.example", "Forwarded: for=192.0.2.1;host=public.example")
        for source in ("forwarded", "x-forwarded"):
            assert host_of(forwarding(source), *lines) == (b"inner", [b"inner"])

    @pytest.mark.spec("H-FWD-08")
    @pytest.mark.parametrize(
        "text", ["public.example", "public.example:8443", "[2001:db8::1]:443", "192.0.2.1", "PUBLIC"]
    )
    def test_the_host_takes_the_place_of_the_one_that_came(self, text):
        given = text.encode()
        assert host_of(forwarding(host=True), f"{SHARE}Host: {text}") == (given, [given])
        assert host_of(forwarding("forwarded", host=True), f'Forwarded: for=192.0.2.1;host="{text}"') == (
            given,
            [given],
        )

    @pytest.mark.spec("H-FWD-04", "H-FWD-08")
    @pytest.mark.parametrize(
        "text",
        ["", "a b", "a/b", "u@a", "http://a", "a?b", "a#b", "<x>", "a:x", "a:99999", "[::1", "\xff", "a" * 300, "a\\"],
    )
    def test_what_is_no_host_is_ignored(self, text):
        assert host_of(forwarding(host=True), f"{SHARE}Host: {text}") == (b"inner", [b"inner"])

    @pytest.mark.spec("H-FWD-08")
    def test_a_port_of_endless_digits_is_no_host(self):
        assert host_of(forwarding(host=True), SHARE + "Host: a:" + "1" * 5000) == (b"inner", [b"inner"])

    @pytest.mark.spec("H-FWD-05", "H-FWD-08")
    def test_the_host_is_that_of_the_hop_that_is_the_client(self):
        lines = (SHARE + "For: 192.0.2.1, 10.0.0.2", SHARE + "Host: evil, public.example, middle")
        assert host_of(forwarding(host=True), *lines)[0] == b"public.example"
        assert host_of(forwarding(host=True), lines[1])[0] == b"inner", "unclear"
        line = "Forwarded: for=6.6.6.6;host=evil, for=192.0.2.1;host=public.example, for=10.0.0.2;host=middle"
        assert host_of(forwarding("forwarded", host=True), line)[0] == b"public.example"

    @pytest.mark.spec("H-FWD-08")
    def test_a_request_without_host_gets_one(self):
        exchange = request(SHARE + "Host: public.example")
        del exchange.head.lines[0]
        forwarding(host=True).apply(exchange)
        assert exchange.head.fields[0] == (b"host", b"public.example")

    def test_the_lines_of_other_requests_keep_their_host(self):
        applied = forwarding(host=True)
        host_of(applied, SHARE + "Host: public.example")
        assert host_of(applied)[1] == [b"inner"]


class TestPrefix:
    @pytest.mark.spec("H-FWD-08")
    @pytest.mark.parametrize(
        ("text", "root_path"),
        [
            ("/shop", "/shop"),
            ("/shop/", "/shop"),
            ("/a/b", "/a/b"),
            ("/caf%C3%A9", "/café"),
            ("/shop, /shop", "/shop"),
            ("/", ""),
        ],
    )
    def test_the_prefix_becomes_the_root_path(self, text, root_path):
        assert prefix_of(f"{SHARE}Prefix: {text}") == root_path

    @pytest.mark.spec("H-FWD-08")
    def test_off_by_default(self):
        assert prefix_of(SHARE + "Prefix: /shop", prefix=False) == ""

    @pytest.mark.spec("H-FWD-04", "H-FWD-08")
    @pytest.mark.parametrize(
        "text",
        ["", "shop", "//evil.example", "/a//b", "/a/../b", "/..", "/.", "/a/./b", "/a?b", "/a#b", "/a b", "/%00",
         "/%0d%0a", "/%ff", "/%2e%2e/x", "/a%2F%2Fb", "/a\\b", "/\xff", "http://evil/", "/a, /b", "/%7f", "/%23"],
    )  # fmt: skip
    def test_other_prefixes_are_ignored(self, text):
        assert prefix_of(f"{SHARE}Prefix: {text}") == ""

    @pytest.mark.spec("H-FWD-08")
    def test_the_prefix_is_that_of_the_hop_that_is_the_client(self):
        assert prefix_of(SHARE + "For: 192.0.2.1, 10.0.0.2", SHARE + "Prefix: /evil, /shop, /middle") == "/shop"


class TestMemory:
    @pytest.mark.spec("H-FWD-02")
    def test_the_same_client_gives_the_same_peer_on_every_connection(self):
        applied = forwarding()
        lines = (SHARE + "For: 192.0.2.1", SHARE + "Proto: https")
        peers = []
        for port in (1, 2, 3):
            exchange = request(*lines, peer=Peer(("127.0.0.1", port), HERE))
            applied.apply(exchange)
            peers.append(exchange.peer)
        assert peers[0] is peers[1] is peers[2]

    @pytest.mark.parametrize(
        ("source", "line"), [("x-forwarded", SHARE + "Proto: https"), ("forwarded", "Forwarded: proto=https")]
    )
    def test_a_client_that_is_not_named_is_that_of_each_connection(self, source, line):
        applied = forwarding(source)
        for port in (1, 2, 1, 3):
            peer = Peer(("127.0.0.1", port), HERE)
            assert see(applied, line, peer=peer) == Seen(("127.0.0.1", port), "https")

    @pytest.mark.parametrize("name", ["For", "Proto", "Port", "Host", "Prefix"])
    def test_every_field_makes_a_difference(self, name):
        applied = forwarding(host=True, prefix=True)
        usual = {"For": "192.0.2.1", "Proto": "http", "Port": "80", "Host": "a", "Prefix": "/a"}
        other = {"For": "192.0.2.2", "Proto": "https", "Port": "81", "Host": "b", "Prefix": "/b"}
        results = []
        for values in (usual, {**usual, name: other[name]}, usual, {**usual, name: ""}):
            exchange = request(*(f"{SHARE}{key}: {value}" for key, value in values.items()))
            applied.apply(exchange)
            peer = exchange.peer
            results.append((peer.client, peer.scheme, peer.server, exchange.head.host, exchange.root_path))
        assert results[0] == results[2] == (("192.0.2.1", 0), "http", (HERE[0], 80), b"a", "/a")
        assert results[1] != results[0]
        assert name == "Proto" or results[3] != results[0]

    def test_listeners_and_transports_are_kept_apart(self):
        applied = forwarding()
        line = SHARE + "For: 192.0.2.1"
        for peer in (
            Peer(PROXY, HERE),
            Peer(PROXY, ("10.0.0.1", 9)),
            Peer(PROXY, HERE, True),
            Peer(None, ("/s", None)),
        ) * 2:
            exchange = request(line, peer=peer)
            applied.apply(exchange)
            derived = exchange.peer
            assert (derived.client, derived.server, derived.secure) == (("192.0.2.1", 0), peer.server, peer.secure)

    def test_what_is_remembered_is_bounded(self):
        applied = forwarding()
        for number in range(4 * KEPT_VERDICTS):
            client = f"192.0.{number >> 8}.{number & 255}"
            assert see(applied, f"{SHARE}For: {client}").client == (client, 0)
            assert see(applied, f"{SHARE}For: {'x' * 600}, {client}").client == (client, 0)
        kept = [value for value in (applied.verdicts.find(key) for key in keys(4 * KEPT_VERDICTS)) if value is not None]
        assert 0 < len(kept) <= 2 * KEPT_VERDICTS


def keys(count: int) -> list[object]:
    """Return the keys under which verdicts of the test above would be kept."""
    clients = [f"192.0.{number >> 8}.{number & 255}".encode() for number in range(count)]
    return [(client, None, None, None, None, None, HERE, False, None) for client in clients]


class TestChance:
    HOSTS = ("192.0.2.1", "6.6.6.6", "10.0.0.2", "10.0.0.3", "127.0.0.1", "2001:db8::1", "2001:db8:ffff::2",
             "::ffff:10.0.0.9", "unknown", "_x", "1.2.3.999", "1.2.3.04", "fe80::1%1")  # fmt: skip
    JUNK = (
        ",",
        ", ",
        ";",
        '"',
        "\\",
        " ",
        "\t",
        "=",
        "[",
        "]",
        ":",
        "::",
        "for=",
        "proto=",
        "https",
        "x",
        "\xff",
        "[::1]",
        '="',
        "%",
    )

    def entry(self, chance: random.Random) -> str:
        """Return an address as proxies write it, or nearly."""
        host = chance.choice(self.HOSTS)
        if ":" in host and chance.random() < 0.6:
            host = f"[{host}]"
        return host + chance.choice(("", "", "", ":80", ":_p", ":70000"))

    def broken(self, text: str, chance: random.Random) -> str:
        """Put junk into a text, or take something out, now and then."""
        for _ in range(chance.choice((0, 0, 1, 1, 2, 4))):
            place = chance.randrange(len(text) + 1)
            if chance.random() < 0.5:
                text = text[:place] + chance.choice(self.JUNK) + text[place:]
            else:
                text = text[:place] + text[place + chance.randrange(1, 4) :]
        return text

    @pytest.mark.spec("H-FWD-02", "H-FWD-04")
    def test_x_forwarded_for_is_read_as_the_reference_reads_it(self):
        clients = set()
        for number in range(4000):
            chance = random.Random(number)
            entries = [self.entry(chance) for _ in range(chance.randrange(1, 6))]
            value = self.broken(chance.choice((",", ", ")).join(entries), chance)
            if not value.strip(", \t"):
                continue
            at = chance.choice([place for place, letter in enumerate(value) if letter == ","] or [-1])
            lines = [value] if at < 0 or chance.random() < 0.5 else [value[:at], value[at + 1 :]]
            assert forwarded_for(*lines) == reference_for(value), lines
            clients.add(forwarded_for(*lines))
        assert len(clients) > 20 and None in clients

    @pytest.mark.spec("H-FWD-03", "H-FWD-04")
    def test_forwarded_is_read_as_the_reference_reads_it(self):
        seen = set()
        for number in range(5000):
            chance = random.Random(number)
            elements = []
            for _ in range(chance.randrange(1, 5)):
                entry = self.entry(chance)
                pairs = [f'for="{entry}"' if ":" in entry or chance.random() < 0.2 else f"for={entry}"]
                if chance.random() < 0.6:
                    pairs.append(f"proto={chance.choice(('http', 'https', 'HTTPS', 'wss', 'ftp'))}")
                if chance.random() < 0.2:
                    pairs.append('ext="a,\\"b;c"')
                chance.shuffle(pairs)
                elements.append(chance.choice((";", ";", "; ")).join(pairs))
            value = self.broken(chance.choice((",", ", ")).join(elements), chance).strip(" \t")
            expected = reference_forwarded(value)
            found = forwarded(value)
            assert expected is None or found == expected, value
            assert found.client is None or found.client[0] not in ("unknown", "_x")
            seen.add(found)
        assert len(seen) > 30 and UNTOUCHED in seen

    @pytest.mark.spec("H-FWD-04")
    def test_random_octets_raise_nothing(self):
        alphabet = [bytes([each]) for each in (*range(0x20, 0x7F), 9, 0x80, 0xA0, 0xFF)] + [b'"'] * 20 + [b","] * 20
        for number in range(3000):
            chance = random.Random(number)
            text = b"".join(chance.choices(alphabet, k=chance.randrange(40)))
            see(forwarding("forwarded", host=True), b"Forwarded: " + text)
            lines = [b"X-Forwarded-" + name + b": " + text for name in (b"For", b"Proto", b"Port", b"Host", b"Prefix")]
            see(forwarding(host=True, prefix=True), *lines)


@pytest.mark.spec("H-FWD-02", "H-FWD-04")
@pytest.mark.parametrize(
    ("source", "field", "piece"),
    [
        ("x-forwarded", b"X-Forwarded-For: ", b"10.0.0.2,"),
        ("x-forwarded", b"X-Forwarded-For: ", b","),
        ("x-forwarded", b"X-Forwarded-Proto: ", b"https,"),
        ("forwarded", b"Forwarded: ", b"for=10.0.0.2,"),
        ("forwarded", b"Forwarded: ", b'"'),
        ("forwarded", b"Forwarded: ", b"\\"),
        ("forwarded", b"Forwarded: ", b'\\"'),
        ("forwarded", b"Forwarded: ", b'"\\'),
        ("forwarded", b"Forwarded: ", b"a=b;"),
        ("forwarded", b"Forwarded: ", b";"),
        ("forwarded", b"Forwarded: ", b" "),
        ("forwarded", b"Forwarded: ", b'x="'),
    ],
)
def test_the_cost_grows_no_faster_than_the_field(source, field, piece):
    def seconds(size: int) -> float:
        applied = forwarding(source)
        exchange = request(field + (piece * (size // len(piece) + 1))[: size - 1] + b"z")
        # The time of this process alone: other work on the machine is not to be judged.
        begun = time.process_time()
        applied.apply(exchange)
        return time.process_time() - begun

    rounds = [(seconds(1600), seconds(16000)) for _ in range(7)]
    limit = 32 * min(small for small, _ in rounds) + 0.001
    assert min(large for _, large in rounds) < limit, "ten times the octets"
