"""What is made of the figures: medians, ratios, targets, offered rates, tables."""

import json
import zlib

import pytest

from benchmarks.cases import CASES, Case
from benchmarks.report import markdown, write
from benchmarks.results import Outcome, Results
from benchmarks.runner import first_round, offered_rate, parse, plan_round
from benchmarks.socket_cases import SOCKET_CASES, WINDOW_BITS, SocketCase
from benchmarks.targets import TARGETS, Target
from benchmarks.trial import Figures

pytestmark = pytest.mark.once

BY_NAME = {case.name: case for case in CASES}


def figures(cpu_us: float, rate: float = 1000.0, offered: float = 0.0) -> Figures:
    """Return the figures of one measurement, those that no test looks at constant."""
    rest = dict.fromkeys(("user_us", "system_us", "p50_ms", "p99_ms", "p999_ms", "max_ms", "pss_kib"), 1.0)
    return {**rest, "cpu_us": cpu_us, "requests_per_s": rate, "offered_per_s": offered, "faults": 0}


def results_of(*outcomes: tuple[str, str, str, Figures]) -> Results:
    """Return the results of a run with these measurements."""
    results = Results({"processor": "any"}, "scripts/bench", {"uvicorn": "1"})
    for outcome in outcomes:
        results.add(Outcome(*outcome))
    return results


def test_the_middle_round_counts() -> None:
    results = results_of(*(("flask", "trilithon", "", figures(cost)) for cost in (90.0, 10.0, 20.0)))
    assert results.median("flask", "trilithon", "cpu_us") == 20.0


def test_a_target_compares_trilithon_with_the_peer_it_names() -> None:
    results = results_of(
        ("flask", "trilithon", "", figures(60.0)),
        ("flask", "bjoern", "", figures(50.0)),
        ("flask", "gunicorn-gthread", "", figures(300.0)),
    )
    found = {target.text: target for target in TARGETS if target.figure(results) is not None}
    assert set(found) == {"flask: CPU a request over bjoern's", "flask: CPU a request over gunicorn-gthread's"}
    missed, met = found["flask: CPU a request over bjoern's"], found["flask: CPU a request over gunicorn-gthread's"]
    assert missed.figure(results) == pytest.approx(1.2)
    assert not missed.is_met(1.2)
    assert met.is_met(met.figure(results) or 0.0)


def test_the_page_says_which_targets_are_missed_and_who_failed(tmp_path) -> None:
    results = results_of(("flask", "trilithon", "", figures(60.0)), ("flask", "bjoern", "", figures(50.0)))
    results.add(Outcome("flask", "waitress", "", None, "cannot be installed: no compiler"))
    write(results, tmp_path)
    page = (tmp_path / "RESULTS.md").read_text()
    assert page == markdown(results)
    assert "## Targets: 0 of 1 met" in page
    assert "| flask: CPU a request over bjoern's | at most 1.00 | 1.20 | **no** |" in page
    assert "* waitress: cannot be installed: no compiler" in page
    assert "FastAPI" not in page.partition("## ")[2]
    assert len(json.loads((tmp_path / "results.json").read_text())["outcomes"]) == 3


def test_all_servers_are_offered_what_trilithon_and_the_best_peer_bear() -> None:
    case = BY_NAME["latency-wsgi"]
    capacities = {"trilithon": 9000.0, "bjoern": 8000.0, "granian-wsgi": 5000.0}
    results = results_of(*((case.name, name, "capacity", figures(9.0, rate)) for name, rate in capacities.items()))
    assert offered_rate(results, case, "capacity") == 0.0
    assert offered_rate(results, case, "half") == pytest.approx(4000.0)
    assert offered_rate(results, case, "90%") == pytest.approx(7200.0)


def test_a_peer_that_cannot_keep_up_is_not_the_best() -> None:
    target = next(target for target in TARGETS if target.text.startswith("latency-wsgi: p50 at half"))
    slow = {**figures(9.0, 4000.0, 4000.0), "p50_ms": 2.0}
    drowning = {**figures(9.0, 1000.0, 4000.0), "p50_ms": 0.5}
    results = results_of(
        ("latency-wsgi", "trilithon", "half", figures(9.0, 4000.0, 4000.0)),
        ("latency-wsgi", "bjoern", "half", slow),
        ("latency-wsgi", "granian-wsgi", "half", drowning),
    )
    assert target.figure(results) == pytest.approx(0.5)


def test_later_rounds_meet_the_servers_from_the_other_end() -> None:
    chosen = parse(["--cases", "flask", "--servers", "trilithon", "bjoern", "waitress"])
    cases = [BY_NAME["flask"]]
    first, second = ([server.name for _, server, _ in plan_round(chosen, cases, number)] for number in (0, 1))
    assert first == ["trilithon", "bjoern", "waitress"]
    assert second == first[::-1]


@pytest.mark.parametrize("words", [["--cases", "nothing"], ["--servers", "nginx"], ["--rounds", "99"]])
def test_a_wrong_choice_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(words)
    assert ended.value.code == 2
    assert words[0].strip("-").rstrip("s") in capsys.readouterr().err


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_wrong_answer_is_never_measured(case: Case) -> None:
    assert case.is_right(200, case.body)
    assert not case.is_right(500, case.body)
    assert not case.is_right(200, b"{}" if case.is_json else case.body[:-1])


def test_a_request_carries_its_body() -> None:
    head, _, body = BY_NAME["echo-wsgi"].request("h").partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\nHost: h\r\n")
    assert b"Content-Length: 16384" in head
    assert body == b"x" * 16384


@pytest.mark.parametrize("case", SOCKET_CASES, ids=lambda case: case.name)
def test_what_is_sent_over_a_socket_inflates_to_the_message_whatever_came_before(case: SocketCase) -> None:
    assert case.message.decode().isprintable() or b"\n" in case.message
    if case.is_deflated:
        inflate = zlib.decompressobj(-WINDOW_BITS)
        for _ in range(3):
            assert inflate.decompress(case.payload + b"\x00\x00\xff\xff") == case.message
        assert case.wording == "deflate"
    else:
        assert case.payload == case.message


def test_a_socket_case_is_met_by_all_its_servers_also_in_a_quick_run() -> None:
    chosen = parse(["--quick", "--cases", "ws-broadcast"])
    case = next(case for case in SOCKET_CASES if case.name == "ws-broadcast")
    assert {server.name for _, server, _ in plan_round(chosen, [case], 0)} == set(case.servers)


def test_a_quick_run_leaves_out_what_takes_minutes_unless_it_is_asked_for() -> None:
    assert not {case for case, _, _ in first_round(parse(["--quick"])) if case.startswith("claim")}
    assert {case for case, _, _ in first_round(parse(["--quick", "--cases", "claim-asgi"]))} == {"claim-asgi"}
    assert {case for case, _, _ in first_round(parse([])) if case.startswith("claim")}


def test_half_of_a_peers_cost_is_good_enough_for_an_echo() -> None:
    case = "ws-echo-64-deflate"
    found = results_of((case, "trilithon", "", figures(10.0)), (case, "uvicorn-wsproto", "", figures(20.0)))
    (target,) = [target for target in TARGETS if target.figure(found) is not None]
    assert target.text == "ws-echo-64-deflate: CPU a message over uvicorn-wsproto's"
    assert target.is_met(target.figure(found) or 1.0)
    assert not target.is_met(0.51)


def test_what_sockets_leave_behind_is_no_ratio_and_zero_is_a_figure() -> None:
    leak = {**figures(100.0), "descriptors_left": 0, "kib_left": 600}
    found = results_of(("ws-churn", "trilithon", "", leak))
    stand = {target.text: target.is_met(target.figure(found) or 0.0) for target in TARGETS if has_figure(target, found)}
    assert stand == {"ws-churn: descriptors left": True, "ws-churn: KiB of memory left": False}
    assert "| trilithon | 1,000 | 100.0 |" in markdown(found)


def has_figure(target: Target, results: Results) -> bool:
    """Tell whether a run measured what a target is about."""
    return target.figure(results) is not None
