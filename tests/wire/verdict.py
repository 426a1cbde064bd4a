"""The judgement of one run of a case: what the server sent and what the application saw against what the case says."""

from typing import Any

from .corpus import Case
from .recording import Call
from .replies import Reply

CANARY = b"GET /canary HTTP/1.1\r\nHost: canary\r\nConnection: close\r\n\r\n"


def judge(case: Case, replies: list[Reply], calls: list[Call], interface: str, *, canary: bool) -> None:
    """Raise AssertionError unless `replies` and `calls` are those of `case`, followed by `CANARY` if it was sent."""
    if case.or_broken and not (len(replies) >= len(case.sees) and replies[0].status == 200):
        judge_refusal(replies, calls, case.or_broken, case)
        return
    for number, (seen, reply, call) in enumerate(zip(case.sees, replies, calls, strict=False), 1):
        judge_call(seen, call, interface)
        assert reply.status == 200, f"call {number} is answered {reply.status}"
        expected = b"" if call.method == "HEAD" else b"call %d" % number
        assert reply.body == expected, f"call {number} is answered {reply.body!r}"
        judge_interim(case, reply)
    assert min(len(replies), len(calls)) >= len(case.sees), f"{len(replies)} replies, {len(calls)} calls"
    replies, calls = replies[len(case.sees) :], calls[len(case.sees) :]
    if case.reject or case.broken or case.silent:
        judge_refusal(replies, calls, case.reject or case.broken, case)
    elif canary and case.persists:
        assert [reply.body for reply in replies] == [b"canary"], f"behind the case: {replies}"
        assert [call.path for call in calls] == ["/canary"], f"behind the case: {calls}"
    else:
        assert not replies, f"behind the case: {replies}"
        assert not calls, f"behind the case: {calls}"


def judge_refusal(replies: list[Reply], calls: list[Call], allowed: tuple[int, ...], case: Case) -> None:
    """Check the end of a connection whose client broke the protocol."""
    assert not any(call.complete for call in calls), f"the application saw a whole request: {calls}"
    assert not (calls and case.reject), f"the application was called: {calls}"
    if not replies:
        assert case.silent or 0 in allowed, "the connection ended without an answer"
        return
    assert len(replies) == 1, f"several answers: {replies}"
    reply = replies[0]
    assert reply.status in allowed, f"answered {reply.status}, not {allowed}"
    assert b"close" in reply.options, f"the answer does not say that it is the last: {reply}"
    judge_error(reply)


def judge_error(reply: Reply) -> None:
    """Check that an answer is what the server itself sends on an error (H1-RSP-13)."""
    assert reply.framing == "length", f"an error is framed by {reply.framing}"
    assert (reply.one("content-type") or b"").startswith(b"text/plain"), f"no plain text: {reply}"
    assert b"canary" not in reply.body, f"the answer repeats the request: {reply.body!r}"
    assert reply.one("server") is None, "the answer names the server"


def judge_interim(case: Case, reply: Reply) -> None:
    """Check that a 100 came at most once, and only when it may come at all."""
    assert len(reply.interim) <= case.data.lower().count(b"\r\nexpect:"), f"too many interim answers: {reply.interim}"
    assert case.interim or not reply.interim, f"interim answers: {reply.interim}"
    assert all(interim.status == 100 and not interim.fields for interim in reply.interim), f"{reply.interim}"
    if case.closes:
        assert b"close" in reply.options, f"the answer does not say that it is the last: {reply}"
    if case.says_keep_alive:
        assert b"keep-alive" in reply.options, f"the answer does not say that it is not the last: {reply}"


def judge_call(seen: dict[str, Any], call: Call, interface: str) -> None:
    """Compare a call with what the case says of it."""
    assert call.complete, f"the body is not complete: {call}"
    shown: dict[str, object] = {
        "method": call.method,
        "path": call.path,
        f"path_{interface}": call.path,
        "query": call.query,
        "version": call.version,
        "body": call.body,
        "raw_path": call.raw_path,
        "host": ",".join(call.values("host")),
    }
    for key, value in seen.items():
        if key == "raw_query":
            assert call.query == str(value).removeprefix("?"), f"query: {call.query!r}"
        elif key in shown and not (key == "raw_path" and interface == "wsgi"):
            assert shown[key] == value, f"{key}: {shown[key]!r}, not {value!r}"
        elif key in ("headers", f"headers_{interface}"):
            for name, text in value:
                assert text in call.values(name), f"field {name}: {call.values(name)}, not {text!r}"
        elif key in ("absent", f"absent_{interface}"):
            for name in value:
                assert not call.values(name), f"field {name}: {call.values(name)}"
