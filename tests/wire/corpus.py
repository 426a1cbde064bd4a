"""The corpus: reads the files of cases, each the bytes of a client and what must come of them.

A file is a list of `[[case]]` tables. The keys:

`spec`          the checklist lines that the case holds
`what`          its name
`send`          the bytes, as text in latin-1; a list is joined, and `[text, n]` within it is repeated n times
`each`          makes one case of every item, which takes the place of `{}` in `send` and `sees`
`sees`          the calls of the application, each answered 200; of each call only the keys given are compared
`reject`        the status, or one of these, that comes after the calls of `sees`, ends the connection and was never
                preceded by a call of the application
`broken`        the same, but the application may have been called; it never saw a complete body; 0 stands for no answer
`or_broken`     the server may do that instead of what `sees` says
`closes`        the connection ends after the last call of `sees`, and the answer says so
`silent`        the connection may end without an answer
`eof`           the client ends its side after its bytes
`interim`       false: there must be no 1xx answer
`says_keep_alive`  the answer has `Connection: keep-alive`
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "cases"
KEYS = {
    "spec", "what", "send", "each", "sees", "reject", "broken", "or_broken", "closes", "silent", "eof", "interim",
    "says_keep_alive",
}  # fmt: skip
SEEN_KEYS = {
    "method", "path", "path_asgi", "path_wsgi", "raw_path", "query", "raw_query", "version", "body", "host", "headers",
    "headers_asgi", "headers_wsgi", "absent", "absent_asgi", "absent_wsgi",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One case: `data` is what the client sends; the rest is as in the file."""

    name: str
    data: bytes
    sees: list[dict[str, Any]] = field(default_factory=list)
    reject: tuple[int, ...] = ()
    broken: tuple[int, ...] = ()
    or_broken: tuple[int, ...] = ()
    closes: bool = False
    silent: bool = False
    eof: bool = False
    interim: bool = True
    says_keep_alive: bool = False

    @property
    def persists(self) -> bool:
        """Whether a request behind this one is answered."""
        return not (self.reject or self.broken or self.closes or self.eof)

    @property
    def methods(self) -> list[str]:
        """The methods of the requests that are answered, as far as the case tells."""
        return [seen.get("method", "GET") for seen in self.sees]


@dataclass(frozen=True)
class Group:
    """The cases of one table."""

    name: str
    spec: tuple[str, ...]
    cases: tuple[Case, ...]


def read_groups() -> list[Group]:
    """Return every table of every file; raises ValueError for one that is not understood."""
    return [
        read_group(table, path.stem)
        for path in sorted(DIRECTORY.glob("*.toml"))
        for table in tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    ]


def read_group(table: dict[str, Any], stem: str) -> Group:
    """Return the cases of one table."""
    name = f"{stem}: {table['what']}"
    unknown = set(table) - KEYS | {key for seen in table.get("sees", []) for key in set(seen) - SEEN_KEYS}
    if unknown or not table["spec"]:
        raise ValueError(f"{name}: unknown or missing: {unknown or 'spec'}")
    cases = []
    for item in table.get("each", [""]):
        text = joined(item)
        case = Case(
            name=f"{name} {text[:60]!r}" if "each" in table else name,
            data=joined(table["send"], text if "each" in table else None).encode("latin-1"),
            sees=[filled(seen, text) if "each" in table else seen for seen in table.get("sees", [])],
            **{key: tuple(table[key]) for key in ("reject", "broken", "or_broken") if key in table},
            **{key: table[key] for key in ("closes", "silent", "eof", "interim", "says_keep_alive") if key in table},
        )
        if not (case.sees or case.reject or case.broken):
            raise ValueError(f"{name} expects nothing")
        cases.append(case)
    return Group(name, tuple(table["spec"]), tuple(cases))


def joined(parts: Any, item: str | None = None) -> str:
    """Return the text of `send` or of an item of `each`; `item` takes the place of `{}`."""
    if isinstance(parts, str):
        return parts if item is None else parts.replace("{}", item)
    return "".join(joined(part, item) if isinstance(part, str) else joined(part[0], item) * part[1] for part in parts)


def filled(value: Any, item: str) -> Any:
    """Return `value` with `item` in the place of every `{}`."""
    if isinstance(value, str):
        return value.replace("{}", item)
    if isinstance(value, list):
        return [filled(part, item) for part in value]
    if isinstance(value, dict):
        return {key: filled(part, item) for key, part in value.items()}
    return value
