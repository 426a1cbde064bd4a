"""http.response.early_hint: 103 in front of the answer, on every protocol that has it (RFC 8297)."""

from typing import Any

import pytest
from asgi_apps import Gate, Notes, body, http_only, raised_by, respond, start
from extension_client import Way

pytestmark = pytest.mark.real

STYLE = b"</style.css>; rel=preload; as=style"
SCRIPT = b"</script.js>; rel=preload; as=script"


def hint(*links: Any) -> dict[str, Any]:
    return {"type": "http.response.early_hint", "links": links}


@pytest.mark.spec("A-XHINT-01", "A-XHINT-02", "H-EH-01")
@pytest.mark.parametrize("when", ["before the start", "behind the start", "both"])
def test_hints_come_before_the_answer(when: str, way: Way) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if when != "behind the start":
            await send(hint(STYLE, SCRIPT))
        await send(start(201, [(b"x-own", b"1")]))
        if when != "before the start":
            await send(hint(SCRIPT))
        await send(body(b"answer"))

    expected = {
        "before the start": [[(b"link", STYLE), (b"link", SCRIPT)]],
        "behind the start": [[(b"link", SCRIPT)]],
        "both": [[(b"link", STYLE), (b"link", SCRIPT)], [(b"link", SCRIPT)]],
    }
    with way.serve(app) as site, way.client(site) as client:
        for _ in range(3):
            answer = client.ask()
            assert answer.hints == expected[when]
            assert (answer.status, answer.body, answer.whole) == (201, b"answer", True)
            assert answer.one(b"x-own") == b"1"
            assert answer.one(b"link") is None


@pytest.mark.spec("A-XHINT-01")
def test_links_may_be_any_iterable_of_bytes(clear_way: Way) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": (link for link in [STYLE, SCRIPT])})
        await send({"type": "http.response.early_hint", "links": []})
        await respond(send)

    answer = clear_way.ask(app)
    assert answer.hints == [[(b"link", STYLE), (b"link", SCRIPT)]]
    assert answer.body == b"ok"


@pytest.mark.spec("A-XHINT-02", "H-EH-01")
def test_a_hint_goes_out_at_once(clear_way: Way) -> None:
    gate = Gate()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(hint(STYLE))
        await gate.passed()
        await respond(send)

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        client.begin()
        if clear_way.is_h2:
            while not client.answers[client.stream_id].hints:
                assert client.step()
        else:
            assert client.until(b"\r\n\r\n")
        gate.open()
        answer = client.answer()
    assert answer.hints == [[(b"link", STYLE)]]
    assert answer.body == b"ok"


@pytest.mark.spec("A-XHINT-02", "H-EH-01")
def test_behind_the_head_a_hint_is_ignored_and_behind_the_answer_it_raises(clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(body(b"some", True))
        await send(hint(STYLE))
        await send(body(b" more"))
        notes.add(type(await raised_by(send(hint(STYLE)))).__name__)

    with clear_way.serve(app) as site, clear_way.client(site) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.hints, answer.body, answer.whole) == ([], b"some more", True)
    assert notes.rest() == ["AppStateError"] * 2


@pytest.mark.spec("A-XHINT-03", "H-EH-02")
def test_http_1_0_gets_none_and_is_offered_none(trust: Any) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add("http.response.early_hint" in scope["extensions"])
        await send(hint(STYLE))
        await respond(send)

    way = Way("http1", trust)
    with way.serve(app) as site:
        for version in ("1.0", "1.1"):
            with way.client(site) as client:
                answer = client.ask(version=version)
                assert len(answer.hints) == int(version == "1.1")
                assert (answer.body, answer.whole) == (b"ok", True)
    assert notes.rest() == [False, True]


@pytest.mark.spec("A-XHINT-03", "H-EH-02")
def test_hints_over_http1_can_be_turned_off(way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add("http.response.early_hint" in scope["extensions"])
        await send(hint(STYLE))
        await respond(send)

    with way.serve(app, early_hints=False) as site, way.client(site) as client:
        answer = client.ask()
    assert len(answer.hints) == int(way.is_h2)
    assert (answer.body, answer.whole) == (b"ok", True)
    assert notes.next() is way.is_h2


@pytest.mark.spec("A-XHINT-03", "H1-RSP-09")
@pytest.mark.parametrize("link", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0", "text", 1, None], ids=repr)
def test_a_link_that_cannot_be_sent_raises(link: Any, clear_way: Way) -> None:
    notes = Notes()

    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        notes.add(await raised_by(send(hint(STYLE, link))))
        notes.add(await raised_by(send({"type": "http.response.early_hint", "links": b"a"})))
        notes.add(await raised_by(send({"type": "http.response.early_hint"})))
        await respond(send)

    answer = clear_way.ask(app)
    assert (answer.hints, answer.body) == ([], b"ok")
    assert [isinstance(error, (ValueError, TypeError)) for error in notes.rest()] == [True] * 3


@pytest.mark.spec("A-XHINT-02", "H-EH-01")
def test_hints_of_one_stream_leave_the_others_alone(trust: Any) -> None:
    @http_only
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/hinted":
            await send(hint(STYLE))
        await respond(send, scope["path"].encode())

    way = Way("h2", trust)
    with way.serve(app) as site, way.client(site) as client:
        streams = [(client.begin(path), path) for path in ("/hinted", "/plain") * 10]
        for stream_id, path in streams:
            answer = client.answer(stream_id)
            assert answer.body == path.encode()
            assert len(answer.hints) == int(path == "/hinted")
