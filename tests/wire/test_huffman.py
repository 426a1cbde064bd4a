"""The Huffman code: every octet both ways, every way to break it, cost in proportion to the size."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trilithon.wire.hpack_tables import CODE_LENGTHS
from trilithon.wire.huffman import decode_huffman, encode_huffman, measure_huffman

BOUNDED = settings(max_examples=300, deadline=None, derandomize=True, database=None)

# RFC 7541 appendix C.4 and C.6.
KNOWN = [
    (b"www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
    (b"no-cache", "a8eb10649cbf"),
    (b"custom-key", "25a849e95ba97d7f"),
    (b"custom-value", "25a849e95bb8e8b4bf"),
    (b"302", "6402"),
    (b"private", "aec3771a4b"),
    (b"Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
    (b"https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"),
    (b"307", "640eff"),
    (b"gzip", "9bd9ab"),
    (
        b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ),
    (b"", ""),
]


def decode(code: bytes) -> bytes | None:
    """Decode all of `code`."""
    return decode_huffman(code, 0, len(code))


def pack(*codes: tuple[int, int]) -> bytes:
    """Return codes, each a value and its length in bits, padded with ones to a whole byte."""
    value = bits = 0
    for code, length in codes:
        value = value << length | code
        bits += length
    rest = -bits % 8
    return (value << rest | (1 << rest) - 1).to_bytes((bits + rest) // 8, "big")


@pytest.mark.parametrize(("text", "code"), KNOWN)
def test_known_strings_both_ways(text: bytes, code: str) -> None:
    assert encode_huffman(text).hex() == code
    assert decode(bytes.fromhex(code)) == text
    assert measure_huffman(text) == len(code) // 2


def test_every_octet_comes_back_at_every_bit() -> None:
    for shift in range(8):
        lead = b"0" * shift  # five bits each: every place within a byte comes up
        for octet in range(256):
            text = lead + bytes([octet]) + b"z"
            assert decode(encode_huffman(text)) == text


def test_the_code_leaves_nothing_out() -> None:
    # Kraft: the lengths of a complete code add up to exactly one, so that every run of bits means something.
    assert sum(2.0**-length for length in CODE_LENGTHS) == 1.0


@BOUNDED
@given(st.binary(max_size=300))
def test_what_is_encoded_is_decoded(text: bytes) -> None:
    code = encode_huffman(text)
    assert decode(code) == text
    assert len(code) == measure_huffman(text)


@BOUNDED
@given(st.binary(max_size=40))
def test_only_one_code_decodes_to_a_string(code: bytes) -> None:
    text = decode(code)
    assert text is None or encode_huffman(text) == code


@BOUNDED
@given(st.binary(max_size=30), st.binary(max_size=9), st.binary(max_size=9))
def test_a_part_is_decoded_without_what_surrounds_it(text: bytes, before: bytes, behind: bytes) -> None:
    code = encode_huffman(text)
    assert decode_huffman(before + code + behind, len(before), len(before) + len(code)) == text


@pytest.mark.spec("H2-HDR-01")
@pytest.mark.parametrize("text", [b"", b"0", b"a0", b"abc", b"zzzzzzz&", b"\xff\x00"])
def test_a_whole_byte_of_padding_is_refused(text: bytes) -> None:
    code = encode_huffman(text)
    for extra in (b"\xff", b"\xff\xff", b"\xff\xff\xff"):
        assert decode(code + extra) is None


@pytest.mark.spec("H2-HDR-01")
def test_padding_that_is_not_all_ones_is_refused() -> None:
    for octet in range(256):
        code = encode_huffman(bytes([octet]))
        for bit in range(-CODE_LENGTHS[octet] % 8):
            assert decode(code[:-1] + bytes([code[-1] ^ 1 << bit])) != bytes([octet])
    assert decode(b"\x00") is None  # "0" and three zeros
    assert decode(b"\x06") is None  # "0", ones, a zero in the middle


@pytest.mark.spec("H2-HDR-01")
@pytest.mark.parametrize("lead", range(8))
@pytest.mark.parametrize("tail", [b"", b"a", b"zzzz"])
def test_eos_in_a_string_is_refused(lead: int, tail: bytes) -> None:
    zeros = [(0, 5)] * lead  # "0" is five zeros
    after = [(int.from_bytes(encode_huffman(tail), "big"), 8 * len(encode_huffman(tail)))]
    assert decode(pack(*zeros)) == b"0" * lead
    assert decode(pack(*zeros, (2**30 - 1, 30), *after)) is None


@pytest.mark.spec("H2-HDR-01")
def test_a_code_cut_short_is_refused() -> None:
    code = encode_huffman(b"\x16")  # thirty bits
    for size in range(1, len(code)):
        assert decode(code[:size]) is None


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (0, 4), (2, 1), (4, 4)])
def test_no_octet_outside_of_the_data_is_read(start: int, end: int) -> None:
    with pytest.raises(IndexError):
        decode_huffman(b"abc", start, end)


@pytest.mark.spec("H2-DOS-04")
def test_the_cost_grows_with_the_size() -> None:
    def seconds(size: int) -> float:
        text = b"\x16a/" * size
        code = encode_huffman(text)
        start = time.thread_time()
        for _ in range(3):
            decode(code)
            encode_huffman(text)
        return time.thread_time() - start

    assert any(seconds(40_000) < 3 * seconds(20_000) for _ in range(4))
