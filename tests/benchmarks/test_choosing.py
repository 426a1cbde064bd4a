"""The page and the picture that the sensors example becomes, and what may replace published figures."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.choosing import BEGIN, END, QUESTIONS, block, write_choosing
from benchmarks.claim_cases import CLAIM_CASES, CLIENTS, UPLOAD
from benchmarks.environment import ROOT
from benchmarks.figure import LABEL_HEIGHT, Panel, Series, draw, height_of, spread, ticks
from benchmarks.publish import conclude, whole_cases
from benchmarks.results import Outcome, Results, read
from benchmarks.runner import first_round, parse

pytestmark = pytest.mark.once

SVG = "{http://www.w3.org/2000/svg}"


def claim(rate: float = 100.0) -> Results:
    """Return a run of all the claim's measurements, each a little different."""
    results = Results({"processor": "any", "rounds": "1 of 2 s"}, "scripts/bench --claim", {"uvicorn": "1"})
    for place, (_, case, server) in enumerate(line for question in QUESTIONS for line in question.lines):
        for clients in CLIENTS:
            each = {"requests_per_s": rate + place, "p50_ms": float(clients), "p99_ms": 2.0 * clients, "cpu_us": 1500.0}
            results.add(Outcome(case, server, str(clients), {**each, "pss_kib": 40960.0, "faults": 0}))
    return results


def test_a_picture_shows_every_value_of_every_panel() -> None:
    panel = Panel("rate", "more", [[1.0, 5.0, 9.0], [2.0, 4.0, 8.5]])
    drawn = draw("a < b", [panel, panel], [Series("one", "#000"), Series("two", "#111")], ["1", "2", "3"])
    root = ET.fromstring(drawn)
    assert len(root.findall(f"{SVG}circle")) == 2 + 2 * 2 * 3
    said = [element.text for element in root.findall(f"{SVG}text")]
    assert {"a < b", "rate", "one", "two", "9", "8"} <= set(said)


@pytest.mark.parametrize("most", [0.7, 9.0, 55.0, 428.0, 99999.0])
def test_a_scale_begins_at_zero_and_holds_the_largest(most: float) -> None:
    marks = ticks(Panel("", "", [[most]]))
    assert marks[0] == 0
    assert marks[-2] < most <= marks[-1]
    assert 4 <= len(marks) <= 7


def test_a_logarithmic_scale_gives_each_power_the_same_room() -> None:
    panel = Panel("", "", [[30.0, 900.0]], [[40.0, 27000.0]], is_logarithmic=True)
    assert ticks(panel) == [10, 100, 1000, 10000, 100000]
    assert [height_of(panel, value) for value in (10, 100, 100000)] == pytest.approx([0, 0.25, 1])


def test_labels_never_lie_on_each_other_and_keep_their_order() -> None:
    moved = spread([50.0, 52.0, 49.0, 90.0, 200.0])
    heights = sorted(moved)
    assert all(below - above >= LABEL_HEIGHT - 1e-6 for above, below in itertools.pairwise(heights))
    assert moved.index(heights[0]) == 2
    assert moved[4] == 200.0


def test_an_upload_is_right_only_from_its_own_interface() -> None:
    wsgi, asgi = CLAIM_CASES[:2]
    answer = b'{"interface": "WSGI", "readings": 8}'
    assert UPLOAD.count(b"quantity") == 8
    assert wsgi.is_right(201, answer)
    assert not asgi.is_right(201, answer)
    assert not wsgi.is_right(502, answer)
    head, _, body = wsgi.request("h").partition(b"\r\n\r\n")
    assert body == UPLOAD
    assert f"Content-Length: {len(UPLOAD)}".encode() in head


def test_the_page_keeps_what_people_wrote(tmp_path: Path) -> None:
    page = tmp_path / "choosing.md"
    page.write_text(f"# Title\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    assert write_choosing(claim(), tmp_path)
    text = page.read_text()
    assert text.startswith("# Title\n\nBefore.\n\n")
    assert text.endswith("\n\nAfter.\n")
    assert "old" not in text
    assert "| WSGI, 64 threads | 1,024 | 101 | 1,024 | 2,048 | 40 | 1.50 |" in text
    for question in QUESTIONS:
        assert (tmp_path / "figures" / f"{question.name}.svg").read_text().startswith("<svg")


def test_a_page_with_holes_is_not_written(tmp_path: Path) -> None:
    results = claim()
    results.outcomes.pop()
    assert not write_choosing(results, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_published_page_holds_the_published_figures() -> None:
    published = read(ROOT / "benchmarks")
    assert published
    page = (ROOT / "docs" / "choosing.md").read_text()
    measured = page[page.index(BEGIN) : page.index(END) + len(END)]
    if published.servers("claim-asgi"):
        assert measured == block(published)
    else:
        assert re.fullmatch(rf"{BEGIN}\s+{END}", measured)


def test_what_was_measured_replaces_only_its_own_cases(tmp_path: Path) -> None:
    flask = Outcome("flask", "bjoern", "", {"cpu_us": 50.0, "requests_per_s": 1.0})
    before = Results({"processor": "any", "rounds": "3 of 2 s"}, "scripts/bench", {"uvicorn": "0"}, [flask])
    old = claim(7.0)
    published = dataclasses.replace(before, outcomes=[flask, *old.outcomes])
    merged = claim().onto(published, {"claim-wsgi", "claim-asgi"})
    assert merged.of("flask", "bjoern") == [flask.figures]
    assert merged.median("claim-asgi", "trilithon", "requests_per_s", "16") == 100.0
    assert merged.median("claim-slow-asgi", "trilithon", "requests_per_s", "16") == 11.0
    assert merged.command == "scripts/bench and scripts/bench --claim"
    assert merged.versions == {"uvicorn": "1"}
    assert "rounds" not in merged.machine


def test_a_case_with_holes_is_not_whole() -> None:
    planned = first_round(parse(["--claim"]))
    assert len(planned) == 18
    results = claim()
    assert whole_cases(results, planned) == {case.name for case in CLAIM_CASES}
    cut = results.outcomes.pop()
    assert whole_cases(results, planned) == {case.name for case in CLAIM_CASES if case.name != cut.case}


def test_a_run_cut_short_leaves_published_cases_as_they_were(tmp_path: Path) -> None:
    chosen = parse(["--claim", "--output", str(tmp_path)])
    said: list[str] = []
    conclude(claim(), chosen, first_round(chosen), said.append)
    cut = claim(500.0)
    cut.outcomes.pop()
    conclude(cut, chosen, first_round(chosen), said.append)
    kept = read(tmp_path)
    assert kept
    assert kept.median("claim-slow-wsgi", "trilithon-64", "requests_per_s", "16") == 105.0
    assert kept.median("claim-asgi", "trilithon", "requests_per_s", "16") == 500.0
    assert "not measured whole, so left as they were: claim-slow-wsgi" in said


def test_an_update_is_of_whole_cases(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--update", "--servers", "trilithon"])
    assert "whole cases" in capsys.readouterr().err
