"""The state machine alone: every case of the corpus, cut at every byte, comes to the same end."""

import random
from urllib.parse import unquote_to_bytes

import pytest

from .corpus import Case, Group, read_groups
from .inmemory import Connection, Outcome, drive, new_terms
from .replies import read_replies
from .verdict import CANARY, judge

# Cases longer than this are cut at their first and last places and at some between.
EVERY_PLACE_BYTES = 400
GROUPS = read_groups()


def places(size: int) -> list[int]:
    """Return where a case of `size` bytes is cut in two."""
    if size <= EVERY_PLACE_BYTES:
        return list(range(1, size))
    return [*range(1, 100), *range(100, size - 100, max(1, size // 40)), *range(size - 100, size)]


def judged(case: Case, outcome: Outcome, *, canary: bool) -> None:
    """Judge an outcome like that of a real connection."""
    replies, rest = read_replies(outcome.written, case.methods, ended=True)
    assert not rest
    for call in outcome.calls:
        call.path = unquote_to_bytes(call.raw_path or "").decode("utf-8", "replace")
    judge(case, replies, outcome.calls, "asgi", canary=canary)
    if case.reject or case.broken or case.closes:
        assert outcome.closed, "the connection stays open"


@pytest.mark.spec("HS-74", "HS-75", "H1-HDR-11")
@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
def test_a_case_cut_anywhere_comes_to_the_same(group: Group) -> None:
    failures = []
    for case in group.cases:
        data = case.data if case.eof else case.data + CANARY
        expected = drive([data], eof=case.eof)
        try:
            judged(case, expected, canary=not case.eof)
            judged(case, drive([case.data], eof=case.eof), canary=False)
        except AssertionError as error:
            failures.append(f"{case.name}: {error}")
            continue
        cuts = [[data[:place], data[place:]] for place in places(len(data))]
        cuts.append([data[place : place + 1] for place in range(len(data))])
        for pieces in cuts:
            outcome = drive(pieces, eof=case.eof)
            if outcome.whole() != expected.whole():
                what = f"cut behind {pieces[0][-40:]!r}" if len(pieces) == 2 else "byte by byte"
                failures.append(f"{case.name}, {what}: {outcome.whole()}, not {expected.whole()}")
                break
    assert not failures, "\n".join([f"{len(failures)} of {len(group.cases)} cases:", *failures])


@pytest.mark.spec("H1-CON-04", "H1-BODY-13", "H1-CHK-13")
def test_what_is_whole_is_answered_though_the_client_has_ended_its_side() -> None:
    first = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"
    second = b"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    third = b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    data = first + second + third
    ends = [len(first), len(first + second), len(data)]
    for taken in range(1, len(data) + 1):
        connection = Connection(new_terms())
        connection.hold = True
        connection.feed(data[:taken])
        connection.end()
        connection.release()
        outcome = connection.outcome()
        whole = sum(end <= taken for end in ends)
        paths = [call.raw_path for call in outcome.calls if call.complete]
        assert paths == ["/1", "/2", "/3"][:whole], taken
        assert outcome.closed
        replies, rest = read_replies(outcome.written, [], ended=True)
        assert [reply.status for reply in replies] == [200] * whole
        assert not rest


@pytest.mark.spec("H1-BODY-14", "HS-46", "HS-47", "HS-56", "HS-60")
@pytest.mark.parametrize("group", GROUPS, ids=[group.name for group in GROUPS])
def test_a_case_that_is_answered_before_its_body_came_hangs_nothing(group: Group) -> None:
    """What follows an unread body is answered in its turn or not at all, and each request once."""
    for case in group.cases:
        if not case.sees or case.or_broken or case.eof:
            continue
        data = case.data + CANARY
        for place in places(len(data))[::2]:
            outcome = drive([data[:place], data[place:]], early=True)
            replies, rest = read_replies(outcome.written, case.methods, ended=outcome.closed)
            where = f"{case.name}, cut behind {data[:place][-40:]!r}"
            assert not rest, where
            assert outcome.closed, f"{where}: neither answered nor closed"
            assert len(outcome.calls) <= len(case.sees) + 1, where
            assert len(replies) - len(outcome.calls) in (0, 1), where
            for seen, call in zip(case.sees, outcome.calls, strict=False):
                assert call.raw_path == seen.get("raw_path", call.raw_path), where
                assert call.method == seen.get("method", call.method), where
            for call in outcome.calls[len(case.sees) :]:
                assert call.raw_path == "/canary", where


@pytest.mark.spec("HS-75", "HS-74")
@pytest.mark.parametrize("seed", range(3))
def test_what_was_met_before_changes_nothing(seed: int) -> None:
    """A reader that remembers lines judges every case as one that meets each line for the first time."""
    cases = [case for group in GROUPS for case in group.cases]
    random.Random(seed).shuffle(cases)
    terms = new_terms()
    for case in [*cases, *cases]:
        cold = drive([case.data], eof=case.eof)
        warm = drive([case.data], eof=case.eof, terms=terms)
        assert warm.whole() == cold.whole(), case.name
        size = len(case.data) // 2
        cut = drive([case.data[:size], case.data[size:]], eof=case.eof, terms=terms)
        assert cut.whole() == cold.whole(), case.name
