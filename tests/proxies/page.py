"""The configurations and commands of docs/proxies.md, by the name in the comment above each."""

import re
import shlex
from pathlib import Path
from typing import Any

from trilithon.foundation.option_row import Kind, Option
from trilithon.foundation.options import TABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proxies.md"
BLOCK = re.compile(r"^<!-- tested: ([a-z0-9-]+) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[tuple[str, str], str]:
    """Return the text of each block by its name and language."""
    return {(name, language): text for name, language, text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))}


def configuration(name: str, replaced: dict[str, str]) -> str:
    """Return a proxy's configuration with the page's addresses and paths replaced; each has to be there."""
    language = name.partition("-")[0]
    text = blocks()[name, language]
    for old, new in replaced.items():
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


def options(name: str) -> dict[str, Any]:
    """Return the options of the command that the page shows for a configuration, without its addresses and paths."""
    command = blocks()[name, "console"].removeprefix("$ ")
    words = shlex.split(command)
    assert words[:2] == ["trilithon", "shop.web:app"]
    known = {option.flag: option for option in TABLE}
    found: dict[str, Any] = {}
    at = 2
    while at < len(words):
        option = known[words[at]]
        at += 1
        if option.kind is Kind.SWITCH:
            found[option.name] = True
            continue
        found[option.name] = read(option, words[at])
        at += 1
    found.pop("bind", None)
    found.pop("certfile", None)
    return found


def read(option: Option, word: str) -> object:
    """Return the value that the command line would make of a word."""
    return option.check(option.parse(word))
