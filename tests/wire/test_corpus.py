"""Every case of the corpus over a real socket, against both interfaces: alone, with a request behind it, in cuts."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from trilithon.testing import serve

from .client import Client
from .corpus import Case, Group, read_groups
from .recording import Record
from .verdict import CANARY, judge

pytestmark = pytest.mark.real

CUT_RUNS = 2


class Site:
    """A served recording application."""

    def __init__(self, interface: str, record: Record, host: str, port: int) -> None:
        self.interface = interface
        self.record = record
        self.host = host
        self.port = port

    def run(self, case: Case, pieces: list[bytes], *, canary: bool, apart: bool = False) -> None:
        """Send `pieces` on a connection of its own and judge; `apart` sends the canary once the case is answered."""
        with Client(self.host, self.port) as client:
            self.record.forget(client.local_port)
            # A client that asks for the close and sends on nevertheless may lose the connection under its feet.
            client.may_be_reset = case.closes
            client.send(*pieces)
            if case.eof:
                client.finish()
            if apart and case.persists:
                client.replies(case.methods, count=len(case.sees))
                client.send(CANARY)
            replies = client.replies(case.methods)
            calls = self.record.take(client.local_port)
            judge(case, replies, calls, self.interface, canary=canary or apart)


@pytest.fixture(scope="module", params=["asgi", "wsgi"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """One server for all cases of an interface."""
    record = Record()
    application: Any = record.asgi if request.param == "asgi" else record.wsgi
    with serve(application, interface=request.param, h2c="off") as served:
        yield Site(request.param, record, served.host, served.port)


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut `data` at up to six random places."""
    places = sorted({chance.randrange(1, len(data)) for _ in range(chance.randrange(1, 7))}) if len(data) > 1 else []
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.mark.parametrize(
    "group", [pytest.param(group, marks=pytest.mark.spec(*group.spec), id=group.name) for group in read_groups()]
)
def test_case(site: Site, group: Group) -> None:
    """The server does with each case what the case says, however its bytes arrive and whatever follows them."""
    failures = []
    for case in group.cases:
        chance = random.Random(case.name)
        trailing = b"" if case.eof else CANARY
        runs = [("alone", [case.data], False, True)]
        if trailing:
            runs.append(("with trailing bytes", [case.data + trailing], True, False))
        runs += [("in cuts", cut(case.data + trailing, chance), bool(trailing), False) for _ in range(CUT_RUNS)]
        for how, pieces, canary, apart in runs:
            try:
                site.run(case, pieces, canary=canary, apart=apart)
            except (AssertionError, OSError) as error:
                failures.append(f"{case.name}, {how}: {type(error).__name__}: {error}")
                break
    assert not failures, "\n".join([f"{len(failures)} of {len(group.cases)} cases:", *failures])
