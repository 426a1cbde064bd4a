"""What is made of the figures: medians, ratios, targets, offered rates, tables."""

import json

import pytest

from benchmarks.cases import CASES, Case
from benchmarks.report import markdown, write
from benchmarks.results import Outcome, Results
from benchmarks.runner import offered_rate, parse, plan_round
from benchmarks.targets import TARGETS
from benchmarks.trial import Figures

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
