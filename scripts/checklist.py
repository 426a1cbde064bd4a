"""Read the conformance checklists and the tests' spec marks, and say which line is held by which test."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONFORMANCE = ROOT / "docs" / "conformance"
LISTS = ("http", "wsgi", "asgi", "websocket")

LINE_ID = re.compile(r"\*\*([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-\d{2})\*\*")
SECTION = re.compile(r"^## (?:(\d+)\. )?(.*)$")
TAG = re.compile(r"\[([MSP])(?:/MAY)?\]")
EVIDENCE = "Evidence"


@dataclass(frozen=True)
class Line:
    """One assertion of a checklist: where it stands, how binding it is (`tags`, may be empty) and its text."""

    id: str
    list: str
    section: int
    title: str
    tags: frozenset[str]
    text: str

    @property
    def required(self) -> bool:
        """Whether a test is owed: everything but the lines that are only a should."""
        return not self.tags or bool(self.tags & {"M", "P"})

    @property
    def tag(self) -> str:
        """The tags as one word for a table, `-` for an untagged line."""
        return "".join(mark for mark in "MSP" if mark in self.tags) or "-"


@dataclass(frozen=True)
class Scope:
    """The lines of what is served today (`ids`), and those that wait for a later protocol (`later`: ID to reason)."""

    ids: frozenset[str]
    later: dict[str, str] = field(default_factory=dict)


def read_lines(directory: Path = CONFORMANCE) -> dict[str, Line]:
    """Return every checklist line by ID, in the order of the lists; raises ValueError for an ID defined twice."""
    lines: dict[str, Line] = {}
    for name in LISTS:
        for line in parse_list(name, (directory / f"{name}.md").read_text(encoding="utf-8")):
            if line.id in lines:
                raise ValueError(f"{line.id} is defined twice ({lines[line.id].list}.md and {name}.md)")
            lines[line.id] = line
    return lines


def parse_list(name: str, text: str) -> Iterator[Line]:
    """Yield the lines of one checklist; one bullet may define several, the evidence at the end defines none."""
    section, title = 0, ""
    for row in text.splitlines():
        heading = SECTION.match(row)
        if heading:
            section, title = int(heading.group(1) or 0), heading.group(2)
        if not row.startswith("- ") or title.startswith(EVIDENCE):
            continue
        marks = list(LINE_ID.finditer(row))
        ends = [mark.start() for mark in marks[1:]] + [len(row)]
        for mark, end in zip(marks, ends, strict=False):
            body = row[mark.end() : end].strip()
            yield Line(mark.group(1), name, section, title, frozenset(TAG.findall(body)), body)


def read_scope(lines: dict[str, Line], path: Path = CONFORMANCE / "scope.toml") -> Scope:
    """Return what is owed today; raises ValueError for an ID that no checklist defines."""
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    ids: set[str] = set()
    for entry in table["scope"]:
        wanted = expand(entry["lines"]) if "lines" in entry else None
        ids |= {
            line.id
            for line in lines.values()
            if line.list == entry["list"]
            and line.section in entry["sections"]
            and (wanted is None or line.id in wanted)
        }
    unknown = sorted(set(table["later"]) - ids)
    if unknown:
        raise ValueError(f"{path.name} sets aside lines that are not in scope: {', '.join(unknown)}")
    return Scope(frozenset(ids), table["later"])


def expand(entries: list[str]) -> set[str]:
    """Return the IDs that `entries` name; `HS-01..HS-60` stands for sixty of them."""
    ids: set[str] = set()
    for entry in entries:
        first, _, last = entry.partition("..")
        stem, _, low = first.rpartition("-")
        high = last.rpartition("-")[2] or low
        ids |= {f"{stem}-{number:02}" for number in range(int(low), int(high) + 1)}
    return ids


def read_tests(directory: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Return what holds each ID, read from the source: `path::Class::test`, or `path` for a file of tests or cases."""
    held: dict[str, list[str]] = {}
    for path in sorted(directory.rglob("*.*")):
        where = path.relative_to(directory.parent).as_posix()
        if path.suffix == ".py":
            marks = cited(ast.parse(path.read_text(encoding="utf-8"), str(path)), where)
        elif path.suffix == ".toml":
            marks = cited_in_data(tomllib.loads(path.read_text(encoding="utf-8")), where)
        else:
            continue
        for name, test in marks:
            if test not in held.setdefault(name, []):
                held[name].append(test)
    return held


def cited(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
    """Yield each ID of every `pytest.mark.spec(...)` under `node`, with the test, class or file that carries it."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "spec":
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, where
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from cited(child, f"{where}::{child.name}" if named else where)


def cited_in_data(node: object, where: str) -> Iterator[tuple[str, str]]:
    """Yield each ID of every `spec = [...]` in a file of cases, which its test turns into marks."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "spec" and isinstance(value, list):
                yield from ((name, where) for name in value)
            else:
                yield from cited_in_data(value, where)
    elif isinstance(node, list):
        for item in node:
            yield from cited_in_data(item, where)
