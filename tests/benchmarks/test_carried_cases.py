"""The cases over HTTP/2 and TLS and of the large file: who meets them, by what words, and what is a right answer."""

from pathlib import Path

import pytest

from benchmarks.cases import CASES, Case, Kind
from benchmarks.catalogue import ALL_CASES
from benchmarks.file_cases import FILE_BYTES, FILE_CASES, write_file
from benchmarks.http2_cases import HTTP2_CASES
from benchmarks.runner import first_round, parse
from benchmarks.servers import SERVERS, Plan
from benchmarks.targets import TARGETS

pytestmark = pytest.mark.once

CARRIED = (*HTTP2_CASES, *FILE_CASES)
BY_NAME = {server.name: server for server in SERVERS}
PROMISES = {
    "asgi": {"granian-asgi": 1.0, "uvicorn-zttp": 0.5, "hypercorn": 0.1},
    "wsgi": {"granian-wsgi": 1.0, "hypercorn-wsgi": 0.1},
}


def plan_of(case: Case) -> Plan:
    """Return the plan of a case."""
    certificate = Path("server.pem") if case.is_tls else None
    return Plan(case.app, 1, 8, Path("bin"), Path("floor"), certificate=certificate, is_http2=case.is_http2)


@pytest.mark.parametrize("case", CARRIED, ids=lambda case: case.name)
def test_every_server_of_a_case_is_measured(case: Case) -> None:
    measured = {server for name, server, _ in first_round(parse(["--cases", case.name])) if name == case.name}
    assert measured == set(case.servers)
    assert "trilithon" in measured


@pytest.mark.parametrize("case", CARRIED, ids=lambda case: case.name)
def test_a_server_is_told_of_tls_exactly_when_the_case_is_over_tls(case: Case) -> None:
    for name in case.servers:
        words = BY_NAME[name].command(plan_of(case))
        assert ("server.pem" in words) is ("server.key" in words) is case.is_tls, name


def test_servers_that_need_a_word_for_http2_are_told() -> None:
    words = {name: server.command(plan_of(HTTP2_CASES[0])) for name, server in BY_NAME.items()}
    assert "--http2" in words["uvicorn-zttp"]
    assert words["granian-wsgi"][words["granian-wsgi"].index("--http") + 1] == "2"
    assert "--h2c" not in words["trilithon"]
    cleartext = next(case for case in HTTP2_CASES if case.is_http2 and not case.is_tls)
    words_of_own = BY_NAME["trilithon"].command(plan_of(cleartext))
    assert words_of_own[words_of_own.index("--h2c") + 1] == "on"
    for server in SERVERS:
        assert not {"--http2", "--h2c", "2"} & set(server.command(plan_of(CASES[0])))


def test_no_two_cases_have_a_name_in_common() -> None:
    names = [case.name for case in ALL_CASES]
    assert len(set(names)) == len(names)


def test_the_address_asked_says_what_carries_it() -> None:
    assert HTTP2_CASES[0].url("h:1") == "https://h:1/"
    assert CASES[0].url("h:1") == "http://h:1/"


@pytest.mark.parametrize("case", HTTP2_CASES, ids=lambda case: case.name)
def test_a_wrong_answer_is_never_measured(case: Case) -> None:
    assert case.is_right(200, case.body)
    assert not case.is_right(500, case.body)
    assert not case.is_right(200, b"{}" if case.is_json else case.body[:-1])


def test_only_the_whole_file_is_right(tmp_path: Path) -> None:
    path = write_file(tmp_path)
    made = path.stat()
    assert made.st_size == FILE_BYTES == FILE_CASES[0].body_bytes
    body = path.read_bytes()
    assert FILE_CASES[0].is_right(200, body)
    assert not FILE_CASES[0].is_right(206, body)
    assert not FILE_CASES[0].is_right(200, body[:-1] + b"0")
    assert write_file(tmp_path).stat().st_mtime_ns == made.st_mtime_ns


def test_every_promise_about_http2_has_its_target() -> None:
    limits = {target.text: target.limit for target in TARGETS}
    for case in HTTP2_CASES:
        if case.is_http2:
            for peer, limit in PROMISES[case.interface].items():
                assert limits[f"{case.name}: CPU a request over {peer}'s"] == limit
    assert limits["tls-asgi: CPU a request over uvicorn's"] == 1.0
    assert limits["tls-wsgi: CPU a request over gunicorn-gthread's"] == 1.0
    assert limits["file-path: CPU a file over granian-asgi's"] == 1.0
    assert limits["h2-file-body: CPU a file over uvicorn-zttp's"] == 1.0
    assert not [text for text in limits if text.startswith("handshakes")]


def test_handshakes_are_measured_in_full_and_resumed() -> None:
    planned = first_round(parse(["--cases", "handshakes", "--servers", "uvicorn"]))
    assert [setting for _, _, setting in planned] == ["full", "resumed"]
    assert [case.kind for case in HTTP2_CASES].count(Kind.HANDSHAKE) == 1
