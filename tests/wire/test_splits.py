"""The state machine alone: every case of the corpus, cut at every byte, comes to the same end."""

from urllib.parse import unquote_to_bytes

import pytest

from .corpus import Case, Group, read_groups
from .inmemory import Outcome, drive
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
