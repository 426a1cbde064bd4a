"""X-Forwarded-* and Forwarded: whom they are believed of, which hop is the client, and what bad values do."""

import pytest

from trilithon.wire.exchange import Peer, TlsFacts
from trilithon.wire.forwarded import MAX_ELEMENT_BYTES, MAX_HOPS

from .forwarding import HERE, PROXY, TRUSTED, UNTOUCHED, Seen, forwarded, forwarded_for, forwarding, request, see

FOREIGN = Peer(("203.0.113.9", 1234), HERE)
UNIX = Peer(None, ("/run/site.sock", None))


class TestTrust:
    LINES = (
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Prefix: /x",
    )

    @pytest.mark.spec("H-FWD-01", "H-FWD-07", "A-SCOPE-24")
    @pytest.mark.parametrize("source", ["forwarded", "x-forwarded"])
    def test_fields_of_a_peer_that_is_not_trusted_do_nothing_and_stay(self, source):
        lines = (*self.LINES, "Forwarded: for=192.0.2.1;proto=https;host=evil")
        exchange = request(*lines, peer=FOREIGN)
        before = list(exchange.head.lines)
        forwarding(source, host=True, prefix=source == "x-forwarded").apply(exchange)
        assert exchange.peer is FOREIGN and exchange.root_path == "" and exchange.head.lines == before

    @pytest.mark.spec("H-FWD-01", "A-SCOPE-24")
    @pytest.mark.parametrize("peer", [Peer(PROXY, HERE), Peer(("10.200.0.9", 1), HERE), UNIX])
    def test_fields_of_a_trusted_peer_are_believed_and_stay(self, peer):
        exchange = request(*self.LINES, peer=peer)
        before = list(exchange.head.lines)
        forwarding().apply(exchange)
        assert (exchange.peer.client, exchange.peer.scheme) == (("192.0.2.1", 0), "https")
        assert exchange.head.lines == before and exchange.root_path == ""

    @pytest.mark.spec("H-FWD-01")
    def test_unix_sockets_have_to_be_trusted_too(self):
        assert see(forwarding(trusted=("127.0.0.1",)), *self.LINES, peer=UNIX) == Seen(None, "http")

    @pytest.mark.spec("H-FWD-01", "H-PP-05")
    def test_a_client_that_a_proxy_relays_without_knowing_it_is_not_trusted(self):
        peer = Peer(PROXY, HERE)
        peer.hearsay = True
        assert see(forwarding(trusted=("*",)), *self.LINES, peer=peer) == UNTOUCHED

    @pytest.mark.spec("H-FWD-01", "H-FWD-02")
    def test_everybody_is_trusted_for_one_hop(self):
        everybody = forwarding(trusted=("*",))
        assert see(everybody, "X-Forwarded-For: 6.6.6.6, 192.0.2.1", peer=FOREIGN).client == ("192.0.2.1", 0)
        assert see(everybody, "X-Forwarded-For: 6.6.6.6, 192.0.2.1", peer=UNIX).client == ("192.0.2.1", 0)
        both = forwarding(trusted=("*", "10.0.0.0/8"))
        assert see(both, "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2", peer=FOREIGN).client == ("192.0.2.1", 0)

    @pytest.mark.spec("H-FWD-06")
    def test_the_two_kinds_are_never_mixed(self):
        lines = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.2")
        assert see(forwarding("forwarded"), *lines) == Seen(("192.0.2.2", 0), "http")
        assert see(forwarding("x-forwarded"), *lines) == Seen(("192.0.2.1", 0), "https")
        assert see(forwarding("forwarded"), *lines[:2]) == UNTOUCHED
        assert (
            see(forwarding("x-forwarded"), lines[2], "X-Real-IP: 192.0.2.3", "X-Forwarded: for=192.0.2.4") == UNTOUCHED
        )

    def test_without_fields_nothing_is_made(self):
        for source in ("forwarded", "x-forwarded"):
            exchange = request("Accept: */*", "From: a", "X-Custom: b", "If-Match: c")
            peer = exchange.peer
            forwarding(source).apply(exchange)
            assert exchange.peer is peer


class TestFor:
    @pytest.mark.spec("H-FWD-02")
    @pytest.mark.parametrize(
        ("lines", "client"),
        [
            (["192.0.2.1"], ("192.0.2.1", 0)),
            (["6.6.6.6, 192.0.2.1"], ("192.0.2.1", 0)),
            (["6.6.6.6", "192.0.2.1"], ("192.0.2.1", 0)),
            (["6.6.6.6, 192.0.2.1, 10.0.0.2"], ("192.0.2.1", 0)),
            (["6.6.6.6, 192.0.2.1", "10.0.0.3, 10.0.0.2"], ("192.0.2.1", 0)),
            (["10.0.0.9, 192.0.2.1, 10.0.0.2,127.0.0.1"], ("192.0.2.1", 0)),
            (["127.0.0.1, 192.0.2.1"], ("192.0.2.1", 0)),
            (["10.0.0.3, 10.0.0.2"], ("10.0.0.3", 0)),
            (["2001:db8::1, 2001:db8:ffff::7"], ("2001:db8::1", 0)),
            (["192.0.2.1, ::ffff:10.0.0.2"], ("192.0.2.1", 0)),
            (["192.0.2.1,,\t, "], ("192.0.2.1", 0)),
        ],
    )
    def test_the_first_hop_from_the_right_that_is_not_trusted_is_the_client(self, lines, client):
        assert forwarded_for(*lines) == client

    @pytest.mark.spec("H-FWD-02")
    def test_the_leftmost_is_never_taken_for_what_it_says(self):
        # daphne took it, from any peer
        assert forwarded_for("127.0.0.1, 192.0.2.1") != ("127.0.0.1", 0)
        assert forwarded_for("10.0.0.1", "192.0.2.1") == ("192.0.2.1", 0)

    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize(
        ("text", "client"),
        [
            ("192.0.2.1:4711", ("192.0.2.1", 4711)),
            ("192.0.2.1:0", ("192.0.2.1", 0)),
            ("[2001:db8::1]:4711", ("2001:db8::1", 4711)),
            ("[2001:db8::1]", ("2001:db8::1", 0)),
            ("2001:DB8::0001", ("2001:db8::1", 0)),
            ("::ffff:192.0.2.1", ("192.0.2.1", 0)),
            ("[::ffff:192.0.2.1]:9", ("192.0.2.1", 9)),
        ],
    )
    def test_forms_of_an_address(self, text, client):
        assert forwarded_for(text) == client

    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize(
        "text",
        ["unknown", "_hidden", "localhost", "192.0.2.1:", "192.0.2.1:65536", "192.0.2.1:x", "192.0.2.1:+1",
         "192.0.2.1:-1", "192.0.2.01", "192.0.2", "192.0.2.256", "192.0.2.1:123456", "[2001:db8::1",
         "2001:db8::1]", "[192.0.2.1]", "[]", "[2001:db8::1]x", "[2001:db8::1]:", "[::1%eth0]", "fe80::1%eth0",
         "::g", '"192.0.2.1"', "<script>", "192.0.2.1 x", "192.0.2.1;x", "' OR 1=1", "\xff\xfe", ":", "[:]",
         "[:::]:1", "1" * 5000, "192.0.2.1:" + "1" * 5000, "٣.1.1.1".encode().decode("latin-1"),
         "192.0.2.1:_x y"],
    )  # fmt: skip
    def test_what_is_no_address_never_gets_through_nor_lets_what_is_left_of_it_through(self, text):
        assert forwarded_for(text) is None
        assert forwarded_for(f"6.6.6.6, {text}") is None
        assert forwarded_for(f"6.6.6.6, {text}, 10.0.0.2") is None
        assert forwarded_for(f"{text}, 192.0.2.1") == ("192.0.2.1", 0)

    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize("text", ["", ",", " , ,", "\t"])
    def test_empty_lists_say_nothing(self, text):
        assert see(forwarding(), f"X-Forwarded-For: {text}") == UNTOUCHED

    @pytest.mark.spec("H-FWD-02")
    def test_chains_beyond_the_bound_have_no_known_client(self):
        most = ", ".join(["10.0.0.2"] * (MAX_HOPS - 1))
        assert forwarded_for(f"192.0.2.1, {most}") == ("192.0.2.1", 0)
        assert forwarded_for(f"192.0.2.1, 10.0.0.2, {most}") is None
        assert forwarded_for(", ".join(["10.0.0.2"] * 1000)) is None


class TestProto:
    @pytest.mark.spec("H-FWD-05")
    @pytest.mark.parametrize(
        ("text", "scheme"),
        [("https", "https"), ("HTTPS", "https"), ("wss", "https"), ("http", "http"), ("ws", "http"), ("WSS", "https")],
    )
    @pytest.mark.parametrize("secure", [False, True])
    def test_known_schemes(self, text, scheme, secure):
        peer = Peer(PROXY, HERE, secure)
        assert see(forwarding(), f"X-Forwarded-Proto: {text}", peer=peer) == Seen(PROXY, scheme)

    @pytest.mark.spec("H-FWD-04", "H-FWD-05")
    @pytest.mark.parametrize(
        "text", ["", "ftp", "https://", "http s", "h", "on", "https;q=1", '"https"', "javascript", "\xff", "443"]
    )
    def test_other_schemes_are_ignored(self, text):
        assert see(forwarding(), f"X-Forwarded-Proto: {text}") == UNTOUCHED
        assert see(forwarding(), f"X-Forwarded-Proto: {text}", peer=Peer(PROXY, HERE, True)).scheme == "https"

    @pytest.mark.spec("H-FWD-05")
    def test_conflicting_values_without_hops_are_ignored(self):
        assert see(forwarding(), "X-Forwarded-Proto: https, http") == UNTOUCHED
        assert see(forwarding(), "X-Forwarded-Proto: https", "X-Forwarded-Proto: http") == UNTOUCHED
        assert see(forwarding(), "X-Forwarded-Proto: https", "X-Forwarded-Proto: https").scheme == "https"

    @pytest.mark.spec("H-FWD-05")
    @pytest.mark.parametrize(
        ("hops", "protos", "scheme"),
        [
            ("192.0.2.1, 10.0.0.2", "https, http", "https"),
            ("192.0.2.1, 10.0.0.2", "http, https", "http"),
            ("6.6.6.6, 192.0.2.1", "https, http", "http"),
            ("6.6.6.6, 192.0.2.1, 10.0.0.2", "http, https, http", "https"),
            ("192.0.2.1", "https, http", "http"),
            ("192.0.2.1", "http, https", "https"),
            ("192.0.2.1, 10.0.0.2", "https", "https"),
            ("192.0.2.1, 10.0.0.3, 10.0.0.2", "https, http", "http"),
            ("192.0.2.1, 10.0.0.2", "ftp, http", "http"),
        ],
    )
    def test_the_scheme_is_that_of_the_hop_that_is_the_client(self, hops, protos, scheme):
        seen = see(forwarding(), f"X-Forwarded-For: {hops}", f"X-Forwarded-Proto: {protos}")
        assert seen == Seen(("192.0.2.1", 0), scheme)

    @pytest.mark.spec("H-FWD-05", "A-SCOPE-24")
    def test_what_tls_of_the_transport_told_stays(self):
        peer = Peer(PROXY, HERE, True)
        peer.tls = TlsFacts()
        exchange = request("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http", peer=peer)
        forwarding().apply(exchange)
        assert exchange.peer.tls is peer.tls and not exchange.peer.secure
        plain = request("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
        forwarding().apply(plain)
        assert plain.peer.tls is None and plain.peer.secure


class TestPort:
    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize(
        ("text", "port"), [("443", 443), ("1", 1), ("65535", 65535), ("8443, 8443", 8443), ("0443", 443)]
    )
    def test_the_port_that_the_client_connected_to(self, text, port):
        exchange = request(f"X-Forwarded-Port: {text}")
        forwarding().apply(exchange)
        assert exchange.peer.server == (HERE[0], port) and exchange.peer.client == PROXY

    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize("text", ["", "0", "65536", "x", "+1", "-1", "1_0", "443;", "1" * 5000, "80, 443", "²"])
    def test_other_ports_are_ignored(self, text):
        exchange = request(f"X-Forwarded-Port: {text}".encode())
        forwarding().apply(exchange)
        assert exchange.peer.server == HERE

    def test_a_unix_socket_has_no_port(self):
        exchange = request("X-Forwarded-Port: 443", peer=UNIX)
        forwarding().apply(exchange)
        assert exchange.peer.server == UNIX.server


class TestStandard:
    @pytest.mark.spec("H-FWD-03")
    @pytest.mark.parametrize(
        ("lines", "client", "scheme"),
        [
            (["for=192.0.2.1"], ("192.0.2.1", 0), "http"),
            (["for=192.0.2.1;proto=https;by=203.0.113.43;host=a"], ("192.0.2.1", 0), "https"),
            (["FOR=192.0.2.1;PROTO=HTTPS"], ("192.0.2.1", 0), "https"),
            (['For="[2001:db8:cafe::17]:4711"'], ("2001:db8:cafe::17", 4711), "http"),
            (['for="[2001:db8::1]"'], ("2001:db8::1", 0), "http"),
            (['for="192.0.2.43:47011"'], ("192.0.2.43", 47011), "http"),
            (['for="192.0.2.43"'], ("192.0.2.43", 0), "http"),
            (['for="192.0.2.4\\3"'], ("192.0.2.43", 0), "http"),
            (['for="192.0.2.43:_port"'], ("192.0.2.43", 0), "http"),
            (['for="[::ffff:192.0.2.43]:1"'], ("192.0.2.43", 1), "http"),
            (["for=6.6.6.6;proto=https, for=192.0.2.1;proto=http"], ("192.0.2.1", 0), "http"),
            (["for=192.0.2.1;proto=https, for=10.0.0.2;proto=http"], ("192.0.2.1", 0), "https"),
            (["for=192.0.2.1;proto=https", "for=10.0.0.2;proto=http"], ("192.0.2.1", 0), "https"),
            (["for=6.6.6.6", "for=192.0.2.1, for=10.0.0.2,for=127.0.0.1"], ("192.0.2.1", 0), "http"),
            (["for=10.0.0.3, for=10.0.0.2"], ("10.0.0.3", 0), "http"),
            ([",, for=192.0.2.1 ,\t,"], ("192.0.2.1", 0), "http"),
            ([";for=192.0.2.1;;proto=wss; ;"], ("192.0.2.1", 0), "https"),
            (['for=192.0.2.1;ext="a,b;c=\\"d\\"";proto=https'], ("192.0.2.1", 0), "https"),
            (["proto=https"], PROXY, "https"),
            (["by=10.0.0.1"], PROXY, "http"),
        ],
    )
    def test_elements(self, lines, client, scheme):
        assert forwarded(*lines) == Seen(client, scheme)

    @pytest.mark.spec("H-FWD-03")
    @pytest.mark.parametrize(
        "text", ["unknown", "Unknown", "_hidden", "_SEVKISEK", '"_gazonk"', '"unknown:80"', '"_a:_b"']
    )
    def test_hidden_clients_are_tolerated_and_unknown(self, text):
        assert forwarded(f"for={text};proto=https") == Seen(None, "https")
        assert forwarded(f"for=6.6.6.6, for={text}, for=10.0.0.2") == Seen(None, "http")

    @pytest.mark.spec("H-FWD-03", "H-FWD-04")
    @pytest.mark.parametrize(
        "text",
        ["for=2001:db8::1", "for=[2001:db8::1]", 'for="2001:db8::1"', "for=192.0.2.1:80", 'for="192.0.2.1',
         "for=", "for", "=192.0.2.1", "for =192.0.2.1", "for= 192.0.2.1", "for=192.0.2.1 proto=https",
         "for=192.0.2.1 x", "for=a=b", "for=192.0.2.1;for=192.0.2.1", "for=192.0.2.1;For=192.0.2.2",
         "proto=https;for=192.0.2.1;proto=https", "for=192.0.2.1;host=a;host=b", 'for="192.0.2.1"x',
         'for="192.0.2.1:99999"', 'for="192.0.2.1:"', 'for=""', "192.0.2.1", "for=localhost", "f\xfcr=1",
         "for=\xff", 'for="[2001:db8::1%1]"', 'for="\\"', "\\", '"', '""', 'for="1.2.3.4\xff"'],
    )  # fmt: skip
    def test_malformed_elements_hide_the_client_and_what_is_left_of_them(self, text):
        assert forwarded(text).client is None
        assert forwarded(f"for=6.6.6.6;proto=https, {text}").client is None
        assert forwarded(f"for=6.6.6.6;proto=https, {text}, for=10.0.0.2").client is None
        assert forwarded(f"{text}, for=192.0.2.1;proto=https") == Seen(("192.0.2.1", 0), "https")
        assert forwarded(text, "for=192.0.2.1;proto=https") == Seen(("192.0.2.1", 0), "https")

    @pytest.mark.spec("H-FWD-03")
    @pytest.mark.parametrize(
        "opened", ['for="', 'for="x', 'for="\\', '"', 'for="6.6.6.6, for=6.6.6.6', 'for=6.6.6.6, for="\\"']
    )
    @pytest.mark.parametrize(
        ("appended", "client"),
        [
            ("for=192.0.2.1;proto=https", ("192.0.2.1", 0)),
            ('for="[2001:db8::1]:9";proto=https', ("2001:db8::1", 9)),
            ('for="192.0.2.1";proto="https"', ("192.0.2.1", 0)),
        ],
    )
    def test_a_quote_that_the_client_left_open_swallows_nothing_of_the_proxy(self, opened, appended, client):
        assert forwarded(f"{opened}, {appended}") == Seen(client, "https")
        assert forwarded(f"{opened},{appended}, for=10.0.0.2") == Seen(client, "https")

    @pytest.mark.spec("H-FWD-05")
    @pytest.mark.parametrize("text", ["ftp", '"ht tp"', '""', "_https", "https:"])
    def test_other_schemes_are_ignored(self, text):
        assert forwarded(f"for=192.0.2.1;proto={text}").scheme == "http"

    @pytest.mark.spec("H-FWD-04")
    @pytest.mark.parametrize("text", ["", ",", " ,,"])
    def test_empty_lists_say_nothing(self, text):
        assert forwarded(text) == UNTOUCHED

    @pytest.mark.spec("H-FWD-04")
    def test_an_element_that_is_too_long_is_not_read(self):
        padding = 'x="' + "y" * (MAX_ELEMENT_BYTES - len('for=192.0.2.1;x=""')) + '"'
        assert forwarded(f"for=192.0.2.1;{padding}").client == ("192.0.2.1", 0)
        assert forwarded(f"for=192.0.2.1;{padding};").client is None
        assert forwarded(f"{padding};for=6.6.6.6, for=192.0.2.1").client == ("192.0.2.1", 0)

    @pytest.mark.spec("H-FWD-03")
    def test_chains_beyond_the_bound_have_no_known_client(self):
        for hop in ("for=10.0.0.2", 'for="10.0.0.2"'):
            most = ", ".join([hop] * (MAX_HOPS - 1))
            assert forwarded(f"for=192.0.2.1, {most}").client == ("192.0.2.1", 0)
            assert forwarded(f"for=192.0.2.1, {hop}, {most}").client is None


def test_the_trusted_proxies_of_these_tests_are_what_they_say():
    assert forwarding().trusted.trusts(PROXY) and "unix" in TRUSTED
