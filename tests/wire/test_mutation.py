"""Mutated cases against the state machine: nothing but the permitted errors, and no cut changes what comes of them."""

import re

import pytest

from trilithon.foundation.errors import PeerError
from trilithon.foundation.limits import MessageLimits
from trilithon.wire.chunked import ChunkedDecoder
from trilithon.wire.framing import coding_is_chunked, parse_length
from trilithon.wire.head import parse_head
from trilithon.wire.target import check_authority, check_connect_authority, split_absolute

from .inmemory import Outcome, drive, new_terms
from .mutation import cuts, mutations
from .replies import read_replies

MACHINE_MUTATIONS = 6000
PARSER_MUTATIONS = 12000
STATUSES = {200, 400, 405, 408, 413, 414, 417, 431, 501, 505}
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


def described(data: bytes, expected: Outcome, outcome: Outcome, how: str) -> str:
    """Say how two runs of the same bytes differ."""
    return f"{data!r} {how}: {outcome.whole()}, whole: {expected.whole()}"


@pytest.mark.spec("HS-74", "HS-75")
@pytest.mark.parametrize("seed", range(4))
def test_mutations_end_alike_however_they_are_cut(seed: int) -> None:
    failures = []
    warm = new_terms()
    for data, chance in mutations(MACHINE_MUTATIONS // 4, seed):
        expected = drive([data])
        for how, pieces, terms in (
            ("in cuts", cuts(data, chance), None),
            ("in cuts, with lines remembered", cuts(data, chance), warm),
            ("whole, with lines remembered", [data], warm),
            ("byte by byte", [data[place : place + 1] for place in range(len(data))], None),
        ):
            outcome = drive(pieces, terms=terms)
            if outcome.whole() != expected.whole():
                failures.append(described(data, expected, outcome, how))
                break
    assert not failures, "\n".join([f"{len(failures)} differ:", *failures[:20]])


@pytest.mark.spec("H1-LINE-01", "H1-HDR-01", "H1-HDR-06", "H1-RSP-09")
@pytest.mark.parametrize("seed", range(10, 12))
def test_what_a_mutation_is_answered_is_well_formed(seed: int) -> None:
    for data, _ in mutations(MACHINE_MUTATIONS // 4, seed):
        outcome = drive([data], eof=True)
        methods = [call.method for call in outcome.calls]
        replies, rest = read_replies(outcome.written, methods, ended=True)
        assert not rest, data
        assert {reply.status for reply in replies} <= STATUSES, data
        refused = [place for place, reply in enumerate(replies) if reply.status != 200]
        assert refused in ([], [len(replies) - 1]), f"something is answered behind a refusal: {data!r}"
        for call in outcome.calls:
            check_call(call.fields, data)


def check_call(fields: list[tuple[str, str]], data: bytes) -> None:
    """Check that what an application would see is what the grammar allows."""
    for name, value in fields:
        assert TOKEN.fullmatch(name.encode("latin-1")), data
        assert VALUE.fullmatch(value.encode("latin-1")), data
        assert value == value.strip(" \t"), data


@pytest.mark.spec("HS-75")
@pytest.mark.parametrize("seed", range(20, 22))
def test_the_parsers_raise_nothing_but_peer_errors(seed: int) -> None:
    limits = MessageLimits()
    for data, chance in mutations(PARSER_MUTATIONS // 2, seed):
        head, _, body = data.partition(b"\r\n\r\n")
        part = data[chance.randrange(len(data) + 1) :][: chance.randrange(40)]
        decoder = ChunkedDecoder(limits)
        for attempt in (
            lambda head=head: parse_head(head, limits, False),
            lambda data=data: parse_head(data, limits, True),
            lambda decoder=decoder, body=body: decoder.feed(body),
            lambda part=part: parse_length(part),
            lambda part=part: coding_is_chunked(part),
            lambda part=part: check_authority(part),
            lambda part=part: check_connect_authority(part),
            lambda part=part: split_absolute(part, False),
        ):
            try:
                attempt()
            except PeerError as error:
                assert error.status in STATUSES, data
