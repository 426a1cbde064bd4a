"""The examples of RFC 7541 appendix C, all of them: what is decoded, what the table then holds, what is encoded."""

import pytest

from trilithon.wire.hpack import CodedField, Encoder, code_field, write_integer, write_string

from .hpack_blocks import Pairs, new_decoder, pairs, table

REQUEST_1 = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")]
REQUEST_2 = [*REQUEST_1, (b"cache-control", b"no-cache")]
REQUEST_3 = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":path", b"/index.html"),
    (b":authority", b"www.example.com"),
    (b"custom-key", b"custom-value"),
]
REQUESTS = [REQUEST_1, REQUEST_2, REQUEST_3]
REQUEST_TABLES = [
    (57, [(b":authority", b"www.example.com")]),
    (110, [(b"cache-control", b"no-cache"), (b":authority", b"www.example.com")]),
    (164, [(b"custom-key", b"custom-value"), (b"cache-control", b"no-cache"), (b":authority", b"www.example.com")]),
]

DATE_1 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_2 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
GZIP = (b"content-encoding", b"gzip")
RESPONSES = [
    [(b":status", b"302"), PRIVATE, DATE_1, LOCATION],
    [(b":status", b"307"), PRIVATE, DATE_1, LOCATION],
    [(b":status", b"200"), PRIVATE, DATE_2, LOCATION, GZIP, COOKIE],
]
RESPONSE_TABLES = [
    (222, [LOCATION, DATE_1, PRIVATE, (b":status", b"302")]),
    (222, [(b":status", b"307"), LOCATION, DATE_1, PRIVATE]),
    (215, [COOKIE, GZIP, DATE_2]),
]

C_3 = [
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]
C_4 = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff",
    "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]
C_5 = [
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
    "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153"
    "444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
]
C_6 = [
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
    "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
]


@pytest.mark.parametrize(
    ("value", "mask", "code"),
    [(10, 0x1F, "0a"), (1337, 0x1F, "1f9a0a"), (42, 0xFF, "2a")],
    ids=["C.1.1", "C.1.2", "C.1.3"],
)
def test_integers(value: int, mask: int, code: str) -> None:
    assert write_integer(value, mask, 0).hex() == code
    assert new_decoder().read_integer(bytes.fromhex(code), mask) == value


@pytest.mark.parametrize(
    ("code", "field", "indexed"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", (b"custom-key", b"custom-header"), True),
        ("040c2f73616d706c652f70617468", (b":path", b"/sample/path"), False),
        ("100870617373776f726406736563726574", (b"password", b"secret"), False),
        ("82", (b":method", b"GET"), False),
    ],
    ids=["C.2.1", "C.2.2", "C.2.3", "C.2.4"],
)
def test_representations(code: str, field: tuple[bytes, bytes], indexed: bool) -> None:
    decoder = new_decoder()
    assert pairs(decoder, bytes.fromhex(code)) == [field]
    assert decoder.table.size == (55 if indexed else 0)
    assert table(decoder) == ([field] if indexed else [])


@pytest.mark.parametrize(
    ("codes", "lists", "tables", "size"),
    [
        (C_3, REQUESTS, REQUEST_TABLES, 4096),
        (C_4, REQUESTS, REQUEST_TABLES, 4096),
        (C_5, RESPONSES, RESPONSE_TABLES, 256),
        (C_6, RESPONSES, RESPONSE_TABLES, 256),
    ],
    ids=["C.3", "C.4", "C.5", "C.6"],
)
def test_three_blocks_of_one_connection(
    codes: list[str], lists: list[Pairs], tables: list[tuple[int, Pairs]], size: int
) -> None:
    decoder = new_decoder()
    decoder.table.resize(size)
    for code, expected, (held, entries) in zip(codes, lists, tables, strict=True):
        assert pairs(decoder, bytes.fromhex(code)) == expected
        assert decoder.table.size == held
        assert table(decoder) == entries


def test_requests_are_encoded_as_in_c_4() -> None:
    # `custom-key` is worth an entry from the second time on that anybody sends it.
    Encoder().encode([(b"custom-key", b"custom-value")])
    encoder = Encoder()
    assert [encoder.encode(fields).hex() for fields in REQUESTS] == C_4
    assert encoder.table.size == 164


@pytest.mark.parametrize(
    ("field", "code"),
    [
        ((b":status", b"302"), "48826402"),
        (PRIVATE, "5885aec3771a4b"),
        (DATE_1, "6196d07abe941054d444a8200595040b8166e082a62d1bff"),
        (DATE_2, "6196d07abe941054d444a8200595040b8166e084a62d1bff"),
        (GZIP, "5a839bd9ab"),
    ],
)
def test_fields_of_responses_are_encoded_as_in_c_6(field: tuple[bytes, bytes], code: str) -> None:
    coded: CodedField = code_field(field)
    assert coded.indexing.hex() == code


def test_strings_are_written_as_in_c_6() -> None:
    assert write_string(LOCATION[1]).hex() == "919d29ad171863c78f0b97c8e9ae82ae43d3"
    assert write_string(COOKIE[1]).hex() == C_6[2][-90 - 2 :]
