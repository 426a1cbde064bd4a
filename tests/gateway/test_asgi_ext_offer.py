"""What a scope offers beyond the specification: what works on that connection, and nothing else."""

from typing import Any

import pytest
from asgi_apps import Notes, body, http_only, raised_by, respond, start
from extension_client import Way

pytestmark = pytest.mark.real

FILES = {"http.response.pathsend", "http.response.zerocopysend"}
FIELDS = {"http.response.trailers", "http.response.early_hint"}


def noting(notes: Notes) -> Any:
    """Return an application that notes what it is offered."""

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["extensions"])
        await respond(send)

    return app


@pytest.mark.spec("A-CORE-18", "A-XPATH-01", "A-XZERO-05", "A-XTRAIL-01", "A-XHINT-01", "A-XTLS-01")
def test_every_protocol_has_its_extensions(way: Way) -> None:
    notes = Notes()
    way.ask(noting(notes))
    offered = notes.next()
    assert offered.keys() == FILES | FIELDS | ({"tls"} if way.is_tls else set())
    assert [offered[name] for name in FILES | FIELDS] == [{}, {}, {}, {}]


@pytest.mark.spec("A-CORE-18", "A-XTRAIL-04", "A-XHINT-03")
def test_http_1_0_has_files_alone(trust: Any) -> None:
    notes = Notes()
    way = Way("http1", trust)
    with way.serve(noting(notes)) as site, way.client(site) as client:
        assert client.ask(version="1.0").body == b"ok"
    assert notes.next() == {name: {} for name in FILES}


@pytest.mark.spec("A-XPUSH-01", "A-XDEBUG-01", "A-XDENY-01", "A-RESP-17")
def test_push_and_debug_are_unknown(way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(scope["extensions"].keys() & {"http.response.push", "http.response.debug", "websocket.http.response"})
        for moment in range(3):
            for event in (
                {"type": "http.response.push", "path": "/pushed", "headers": []},
                {"type": "http.response.debug", "info": {}},
                {"type": "websocket.http.response.start", "status": 200},
            ):
                notes.add(type(await raised_by(send(event))).__name__)
            await send([start(), body(b"a", True), body(b"b")][moment])

    answer = way.ask(app)
    assert (answer.status, answer.body, answer.whole) == (200, b"ab", True)
    assert notes.rest() == [set(), *["AppValueError"] * 9]
