"""The checklists can be read, every spec mark cites a line of them, and the reader of both is right."""

import pytest
from tree import ROOT

from scripts import checklist

pytestmark = pytest.mark.once

SAMPLE = """\
# A list

## 1. First things
- **X-ONE-01** [M] must; [P] and a choice.
- **X-ONE-02** [S] only a should, unlike **this**.
- text about **X-ONE-01** is no definition: not at the start of a bullet?
## 2. Many in one line
- **HS-01** `a` -> 400c. **HS-02** `b` **HS-03** [M/MAY] -> all 400c.
## Evidence (read)
- **E-10** a server
"""


def test_lines_tags_and_sections_are_read():
    text = SAMPLE.replace("- text about", "Text about")
    lines = {line.id: line for line in checklist.parse_list("sample", text)}
    assert list(lines) == ["X-ONE-01", "X-ONE-02", "HS-01", "HS-02", "HS-03"]
    assert [line.tag for line in lines.values()] == ["MP", "S", "-", "-", "M"]
    assert [line.required for line in lines.values()] == [True, False, True, True, True]
    assert [line.section for line in lines.values()] == [1, 1, 2, 2, 2]
    assert lines["HS-02"].text == "`b`"


def test_ranges_of_ids_are_expanded():
    assert checklist.expand(["HS-08..HS-11", "HS-75"]) == {"HS-08", "HS-09", "HS-10", "HS-11", "HS-75"}


def test_marks_are_found_on_tests_classes_modules_and_cases(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.spec('A-01')\n"
        "@pytest.mark.spec('B-01', 'B-02')\n"
        "class TestIt:\n"
        "    @pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.spec('C-01'))])\n"
        "    def test_x(self, x): pass\n"
    )
    (tmp_path / "tests" / "cases.toml").write_text("[[case]]\nspec = ['D-01']\n[[case.more]]\nspec = ['D-02']\n")
    assert checklist.read_tests(tmp_path / "tests") == {
        "A-01": ["tests/test_some.py"],
        "B-01": ["tests/test_some.py::TestIt"],
        "B-02": ["tests/test_some.py::TestIt"],
        "C-01": ["tests/test_some.py::TestIt::test_x"],
        "D-01": ["tests/cases.toml"],
        "D-02": ["tests/cases.toml"],
    }


def test_the_lists_hold_what_they_are_known_to_hold():
    lines = checklist.read_lines()
    assert {f"HS-{number:02}" for number in range(1, 76)} <= set(lines)
    assert {f"H-LIM-{number:02}" for number in range(1, 10)} <= set(lines)
    assert lines["H1-BODY-02"].tag == "M"
    assert lines["A-LIFE-06"].list == "asgi"
    assert not [name for name in lines if name.startswith("E-")]


def test_every_mark_cites_a_line():
    assert not set(checklist.read_tests()) - set(checklist.read_lines())


def test_what_is_set_aside_is_in_scope_and_has_a_reason():
    scope = checklist.read_scope(checklist.read_lines())
    assert all(scope.later.values())
    assert len(scope.later) < 20, "few lines wait for later; the rest is owed"


@pytest.mark.parametrize("page", ["http", "wsgi", "asgi", "websocket", "README"])
def test_the_pages_are_there(page):
    assert (ROOT / "docs" / "conformance" / f"{page}.md").stat().st_size > 1000
