"""The examples of the page on extensions do what the page says, on every protocol."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from extension_client import Answer, Way

pytestmark = pytest.mark.real

PAGE = Path(__file__).parents[2] / "docs" / "extensions.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def run(number: int, tmp_path: Path) -> tuple[Any, bytes]:
    """Return the application of an example, and its source as the file that it sends."""
    path = tmp_path / "example.py"
    path.write_text(EXAMPLES[number], encoding="utf-8")
    names: dict[str, Any] = {"__file__": str(path)}
    exec(compile(EXAMPLES[number], path, "exec"), names)
    return names["app"], path.read_bytes()


def ask(number: int, way: Way, tmp_path: Path) -> tuple[Answer, bytes]:
    """Return the answer of an example, and its source."""
    app, source = run(number, tmp_path)
    answer = way.ask(app, fields=[(b"te", b"trailers")])
    assert (answer.status, answer.whole) == (200, True)
    return answer, source


def test_there_are_no_other_examples() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("number", [0, 2])
def test_a_whole_file(number: int, way: Way, tmp_path: Path) -> None:
    answer, source = ask(number, way, tmp_path)
    assert answer.body == source
    assert answer.one(b"content-type") == b"text/x-python"


def test_a_part_of_a_file(way: Way, tmp_path: Path) -> None:
    answer, _ = ask(1, way, tmp_path)
    assert answer.body == b"<pre>pathlib</pre>"


@pytest.mark.parametrize("number", [3, 4])
def test_hints(number: int, way: Way, tmp_path: Path) -> None:
    answer, _ = ask(number, way, tmp_path)
    assert answer.hints == [[(b"link", b"</style.css>; rel=preload; as=style")]]
    assert answer.body == b"<!doctype html>"


def test_trailers(way: Way, tmp_path: Path) -> None:
    answer, _ = ask(5, way, tmp_path)
    assert answer.body == b"first second"
    assert answer.trailers == [(b"x-sha256", hashlib.sha256(answer.body).hexdigest().encode())]
