"""permessage-deflate: which offers are accepted, what is answered, and that the answer is kept."""

import random
import zlib

import pytest

from trilithon.foundation.errors import SocketFault
from trilithon.foundation.limits import SocketLimits
from trilithon.wire.deflate import Deflate, negotiate
from trilithon.wire.handshake import read_offers

WIDE = SocketLimits(ws_deflate_window_bits=15)
NARROW = SocketLimits(ws_deflate_window_bits=10)
FORGETFUL = SocketLimits(ws_deflate_takeover=False)


def agree(*values: str, limits: SocketLimits | None = None) -> Deflate | None:
    """Negotiate as the server does for these Sec-WebSocket-Extensions fields."""
    return negotiate(read_offers([value.encode() for value in values]), limits or SocketLimits())


def accepted(*values: str, limits: SocketLimits | None = None) -> Deflate:
    """Negotiate what must come to an agreement."""
    deflate = agree(*values, limits=limits)
    assert deflate is not None
    return deflate


def reply(*values: str, limits: SocketLimits | None = None) -> dict[str, str | None]:
    """Return the parameters of the answer, which is one extension in the grammar of RFC 6455 9.1."""
    (answer,) = read_offers([accepted(*values, limits=limits).reply])
    assert answer.name == b"permessage-deflate"
    names = [name.decode() for name, _ in answer.parameters]
    assert len(set(names)) == len(names)
    return {name.decode(): None if value is None else value.decode() for name, value in answer.parameters}


def inflate(bits: int, *payloads: bytes) -> list[bytes]:
    """Inflate messages as a client with a window of `bits` does, in pieces so small that zlib holds to it."""
    inflater = zlib.decompressobj(-bits)
    messages = []
    for payload in payloads:
        message, data = b"", payload + b"\x00\x00\xff\xff"
        while piece := inflater.decompress(data, 64):
            message += piece
            data = inflater.unconsumed_tail
        messages.append(message)
    return messages


@pytest.mark.spec("WS-PMD-01")
def test_nothing_is_used_that_was_not_offered():
    assert agree() is None
    assert agree("") is None
    assert agree("x-webkit-deflate-frame, permessage-bzip2; x=1") is None
    assert agree("permessage-deflated") is None


@pytest.mark.spec("WS-PMD-15", "WS-PMD-18")
def test_compression_can_be_turned_off():
    assert agree("permessage-deflate", limits=SocketLimits(ws_deflate=False)) is None


@pytest.mark.spec("WS-PMD-01")
@pytest.mark.parametrize(
    ("values", "bits"),
    [
        (["permessage-deflate; server_max_window_bits=11, permessage-deflate; server_max_window_bits=9"], "11"),
        (["permessage-deflate; server_max_window_bits=11", "permessage-deflate; server_max_window_bits=9"], "11"),
        (["foo, permessage-deflate; server_max_window_bits=11"], "11"),
        (["permessage-deflate; foo, permessage-deflate; server_max_window_bits=11"], "11"),
        (["permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=9"], "9"),
        (["permessage-deflate; server_max_window_bits=8, permessage-deflate"], "12"),
        (["permessage-deflate; server_max_window_bits", "permessage-deflate; server_max_window_bits=10"], "10"),
        (['permessage-deflate; server_max_window_bits="', "permessage-deflate; server_max_window_bits=10"], "10"),
    ],
)
def test_the_first_acceptable_offer_is_taken(values, bits):
    assert reply(*values) == {"server_max_window_bits": bits}


@pytest.mark.spec("WS-PMD-02", "WS-PMD-03", "WS-PMD-05")
@pytest.mark.parametrize(
    "parameters",
    [
        "foo", "foo=1", "Server_no_context_takeover", "server_max_window_bits=10; foo", "server_no_context_takeover=1",
        'server_no_context_takeover="1"', "client_no_context_takeover=1", "client_no_context_takeover=true",
        "server_no_context_takeover; server_no_context_takeover",
        "client_no_context_takeover; client_no_context_takeover",
        "client_max_window_bits; client_max_window_bits", "client_max_window_bits=10; client_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "server_max_window_bits=10; server_max_window_bits=10", "server_max_window_bits=10; server_max_window_bits=11",
        "server_max_window_bits", "server_max_window_bits=", 'server_max_window_bits=""', "server_max_window_bits=7",
        "server_max_window_bits=16", "server_max_window_bits=0", "server_max_window_bits=010",
        "server_max_window_bits=09", "server_max_window_bits=+10", "server_max_window_bits=-10",
        "server_max_window_bits=1_0", "server_max_window_bits=10.0", "server_max_window_bits=0xa",
        "server_max_window_bits=abc", "server_max_window_bits=\u0661\u0660", 'server_max_window_bits=" 10"',
        "client_max_window_bits=", "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=08",
        "client_max_window_bits=abc", "client_max_window_bits=-9", "client_max_window_bits=1 0",
        "server_max_window_bits=99999999999999999999999999999999",
    ],
)  # fmt: skip
def test_an_offer_that_cannot_be_understood_is_declined_alone(parameters):
    assert agree("permessage-deflate; " + parameters) is None
    assert reply("permessage-deflate; " + parameters, "permessage-deflate") == {"server_max_window_bits": "12"}


@pytest.mark.spec("WS-PMD-03", "WS-PMD-04")
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("bits", range(8, 16))
def test_the_servers_window_is_at_most_what_the_client_asks_for(bits, quote):
    offer = f"permessage-deflate; server_max_window_bits={quote}{bits}{quote}"
    if bits == 8:
        assert agree(offer) is agree(offer, limits=WIDE) is None
        return
    assert reply(offer) == {"server_max_window_bits": str(min(bits, 12))}
    assert reply(offer, limits=WIDE) == {"server_max_window_bits": str(bits)}
    assert reply(offer, limits=NARROW) == {"server_max_window_bits": str(min(bits, 10))}


@pytest.mark.spec("WS-PMD-03")
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("bits", range(9, 16))
def test_the_window_that_was_agreed_is_the_one_that_is_used(bits, alone):
    def compress(message: bytes) -> bytes:
        deflate = accepted(f"permessage-deflate; server_max_window_bits={bits}", limits=WIDE)
        return deflate.compress_alone(message) if alone else deflate.compress(message)

    # zlib looks back 262 bytes less than its window; what comes again farther away must not be found.
    near = random.Random(bits).randbytes((1 << bits) - 300)
    payload = compress(near * 8)
    assert inflate(bits, payload) == [near * 8]
    assert len(payload) < 5 * len(near)
    far = random.Random(bits).randbytes((1 << bits) + 1)
    assert len(compress(far * 8)) > 7 * len(far)


@pytest.mark.spec("WS-PMD-05")
@pytest.mark.parametrize(
    ("parameter", "limits", "bits"),
    [
        ("", SocketLimits(), None),
        ("; client_max_window_bits", SocketLimits(), "12"),
        ("; client_max_window_bits", WIDE, "15"),
        ("; client_max_window_bits", NARROW, "10"),
        ("; client_max_window_bits=15", SocketLimits(), "12"),
        ('; client_max_window_bits="11"', SocketLimits(), "11"),
        ("; client_max_window_bits=9", WIDE, "9"),
        ("; client_max_window_bits=8", SocketLimits(), "8"),
    ],
)
def test_the_clients_window_is_limited_only_if_it_offers_that(parameter, limits, bits):
    assert reply("permessage-deflate" + parameter, limits=limits).get("client_max_window_bits") == bits


@pytest.mark.spec("WS-PMD-05")
@pytest.mark.parametrize("bits", range(8, 16))
def test_a_client_may_use_the_whole_window_that_was_agreed(bits):
    deflate = accepted(f"permessage-deflate; client_max_window_bits={bits}", limits=WIDE)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -max(bits, 9), 9)
    noise = random.Random(bits).randbytes(1 << bits)
    for message in (noise, noise[: len(noise) // 4], noise, b"", noise[-100:]):
        deflate.feed((compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
        deflate.end()
        assert take_all(deflate) == message


@pytest.mark.spec("WS-PMD-05")
def test_without_an_agreement_the_client_has_the_largest_window():
    deflate = accepted("permessage-deflate")
    noise = random.Random(1).randbytes(30000)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    sizes = []
    for message in (noise, noise):
        payload = (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        sizes.append(len(payload))
        deflate.feed(payload)
        deflate.end()
        assert take_all(deflate) == message
    assert sizes[1] < 1000, "the second message refers to the first, 30,000 bytes back"


@pytest.mark.spec("WS-PMD-05", "WS-PMD-13")
def test_a_client_that_looks_back_beyond_its_window_fails():
    deflate = accepted("permessage-deflate; client_max_window_bits=10")
    noise = random.Random(1).randbytes(8000)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    deflate.feed((compressor.compress(noise) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
    deflate.end()
    assert take_all(deflate) == noise
    deflate.feed((compressor.compress(noise) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4])
    deflate.end()
    with pytest.raises(SocketFault) as caught:
        take_all(deflate)
    assert caught.value.code == 1007


def take_all(deflate: Deflate) -> bytes:
    """Take all that there is."""
    parts = []
    while piece := deflate.take(65536):
        parts.append(piece)
    return b"".join(parts)


HELLO, AGAIN = bytes.fromhex("f248cdc9c90700"), bytes.fromhex("f200110000")


@pytest.mark.spec("WS-PMD-06")
@pytest.mark.parametrize(
    ("offer", "limits", "kept"),
    [
        ("permessage-deflate", SocketLimits(), True),
        ("permessage-deflate; client_no_context_takeover", SocketLimits(), True),
        ("permessage-deflate; server_no_context_takeover", SocketLimits(), False),
        ("permessage-deflate; server_no_context_takeover; client_max_window_bits", WIDE, False),
        ("permessage-deflate", FORGETFUL, False),
    ],
)
def test_the_servers_context_is_kept_unless_told_otherwise(offer, limits, kept):
    assert ("server_no_context_takeover" in reply(offer, limits=limits)) is not kept
    deflate = accepted(offer, limits=limits)
    assert deflate.compress(b"Hello") == HELLO
    assert deflate.compress(b"Hello") == (AGAIN if kept else HELLO)


@pytest.mark.spec("WS-PMD-07")
@pytest.mark.parametrize(
    ("offer", "limits", "kept"),
    [
        ("permessage-deflate", SocketLimits(), True),
        ("permessage-deflate; server_no_context_takeover", SocketLimits(), True),
        ("permessage-deflate; client_no_context_takeover", SocketLimits(), False),
        ("permessage-deflate", FORGETFUL, False),
    ],
)
def test_the_clients_context_is_dropped_only_when_the_answer_says_so(offer, limits, kept):
    assert ("client_no_context_takeover" in reply(offer, limits=limits)) is not kept
    deflate = accepted(offer, limits=limits)
    deflate.feed(HELLO)
    deflate.end()
    assert take_all(deflate) == b"Hello"
    deflate.feed(AGAIN)
    deflate.end()
    if kept:
        assert take_all(deflate) == b"Hello"
    else:
        with pytest.raises(SocketFault) as caught:
            take_all(deflate)
        assert caught.value.code == 1007


@pytest.mark.spec("WS-PMD-01", "WS-PMD-03", "WS-PMD-05", "WS-PMD-06", "WS-PMD-07")
def test_the_answer_to_a_full_offer():
    offer = (
        "permessage-deflate; client_max_window_bits=14; server_no_context_takeover; server_max_window_bits=10; "
        "client_no_context_takeover"
    )
    assert reply(offer) == {
        "server_max_window_bits": "10",
        "client_max_window_bits": "12",
        "server_no_context_takeover": None,
        "client_no_context_takeover": None,
    }


def test_the_largest_window_needs_no_words():
    assert accepted("permessage-deflate", limits=WIDE).reply == b"permessage-deflate"


def test_the_usual_answer_to_a_browser():
    deflate = accepted("permessage-deflate; client_max_window_bits")
    assert deflate.reply == b"permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"


def test_the_shape_is_what_stand_alone_payloads_depend_on():
    limits = SocketLimits(ws_deflate_level=4, ws_deflate_memory_level=7)
    assert accepted("permessage-deflate", limits=limits).shape == (4, 12, 7)
    assert accepted("permessage-deflate; server_max_window_bits=9", limits=limits).shape == (4, 9, 7)
    assert accepted("permessage-deflate; client_max_window_bits=9", limits=limits).shape == (4, 12, 7)
    assert accepted("permessage-deflate; server_no_context_takeover", limits=limits).shape == (4, 12, 7)
