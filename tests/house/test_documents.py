"""What the documents say can be typed, followed and looked up."""

import os
import re
import shlex
from pathlib import Path

import pytest
from tree import ROOT, files, name

from trilithon.cli.control import ctl
from trilithon.cli.reference import markdown
from trilithon.foundation.option_row import Kind
from trilithon.foundation.options import TABLE

pytestmark = pytest.mark.once

PAGES = [path for path in files(".md") if path.name != "COVERAGE.md"]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(?:#[\w-]+)?\)")
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {"check", "serve", "options"}


def typed() -> list[tuple[str, list[str]]]:
    """Return every command line that a page shows, with the page."""
    return [
        (name(page), shlex.split(line[2:], comments=True))
        for page in PAGES
        for block in CONSOLE.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path):
    broken = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not broken


def test_scripts_that_are_shown_can_be_run():
    shown = {words[0] for _, words in typed() if words[0].startswith("scripts/")}
    assert {"scripts/demo", "scripts/test"} <= shown
    assert not [each for each in shown if not os.access(ROOT / each, os.X_OK)]


def test_flags_that_are_shown_exist():
    known = {option.flag for option in TABLE} | {option.short for option in TABLE} | {"--version", "--help"}
    shown = {(page, word) for page, words in typed() if words[0] == "trilithon" for word in words if word[0] == "-"}
    assert not {(page, word) for page, word in shown if word.partition("=")[0] not in known}


def test_flags_in_the_prose_exist():
    known = {option.flag for option in TABLE} | {"--version", "--help", "--config", "--markdown", "--fast"}
    known |= {option.flag.replace("--", "--no-", 1) for option in TABLE if option.kind is Kind.SWITCH}
    known |= {flag for command in (ctl, *ctl.commands.values()) for each in command.params for flag in each.opts}
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = {(name(page), flag) for page in pages for flag in re.findall(r"`(--[a-z0-9-]+)", page.read_text("utf-8"))}
    assert not {(page, flag) for page, flag in shown if flag not in known}


def test_every_option_is_on_the_option_page():
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    missing = [
        option.name
        for option in TABLE
        if not all(f"`{word}`" in page for word in (option.name, option.flag, option.env))
    ]
    assert not missing


def test_the_option_page_is_what_the_table_says():
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert page == markdown(), "run scripts/docs"


def test_the_readme_begins_with_the_two_commands():
    commands = [words for page, words in typed() if page == "README.md"]
    assert commands[:2] == [["scripts/demo"], ["scripts/test"]]


def test_ci_calls_the_same_scripts():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("scripts/")] == ["scripts/check", "scripts/test"]
