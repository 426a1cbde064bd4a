"""Help, version and the documentation page: derived from the table, complete, and fit for a terminal."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from invocation import environment

from trilithon.cli.reference import markdown
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.option_row import Kind
from trilithon.foundation.options import TABLE

pytestmark = [pytest.mark.real, pytest.mark.once]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def test_help_of_serve_shows_every_option(command):
    text = command("serve", "--help").stdout
    flat = re.sub(r"\s+", " ", text)

    for option in TABLE:
        assert re.search(rf"  (-\w, )?{option.flag}[ ,\n]", text), option.flag
        assert option.prose in flat, option.name
        if option.kind is Kind.SWITCH:
            assert option.flag.replace("--", "--no-") in text
    for code in ExitCode:
        assert code.prose in flat


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["serve", "-h"], ["check", "--help"], ["options", "--help"]])
def test_help_fits_its_terminal_and_ends_well(command, arguments):
    for columns in ("80", "100"):
        done = command(*arguments, COLUMNS=columns)

        assert done.returncode == 0
        assert done.stderr == ""
        # A metavar may be longer than a narrow terminal allows; prose may not.
        assert [line for line in done.stdout.splitlines() if len(line) > int(columns)] == []


@pytest.mark.parametrize(("word", "flag"), [("help", "--help"), ("version", "--version")])
def test_the_words_do_what_the_flags_do(command, word, flag):
    assert command(word).stdout == command(flag).stdout != ""


def test_help_names_the_commands_and_the_way_to_all_options(command):
    text = command("--help").stdout

    assert text.startswith("Usage: trilithon APP [OPTIONS]\n")
    assert re.search(r"^  serve .*\n", text, re.M) and re.search(r"^  check .*\n", text, re.M)
    assert "trilithon serve --help shows all" in text
    assert "--bind" in text and "--max-trailer-fields" not in text


def test_a_flag_before_help_asks_for_the_help_of_serve(command):
    assert "--max-trailer-fields" in command("--bind", ":80", "--help").stdout


def test_the_version_says_which_build_runs(command):
    import trilithon
    from trilithon.foundation import leaf

    done = command("--version")

    build = "compiled" if leaf.COMPILED else "pure Python"
    assert re.fullmatch(
        rf"trilithon {re.escape(trilithon.__version__)}, {build}, CPython \d+\.\d+\.\d+\S*\n", done.stdout
    )
    assert done.returncode == 0


def test_the_list_of_options_has_every_name(command):
    lines = command("options").stdout.splitlines()

    for option in TABLE:
        assert [option.name, option.flag, option.env] in [line.split() for line in lines]


def test_the_documentation_page_is_what_the_command_writes():
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run: trilithon options --markdown > docs/options.md"


def test_the_documentation_page_has_every_option_in_every_source(command):
    page = command("options", "--markdown").stdout

    for option in TABLE:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{option.name}` |"))
        assert f"`{option.flag}`" in row and f"`{option.env}`" in row
        assert option.prose.replace("|", "\\|") in row
        assert row.replace("\\|", "").count("|") == 6


def test_the_example_in_the_documentation_is_valid(command, tmp_path):
    example = markdown().split("```toml\n")[1].split("```")[0]
    (tmp_path / "trilithon.toml").write_text(example)
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "wsgi.py").write_text("def application(environ, start_response): pass\n")
    (tmp_path / "new" / "asgi.py").write_text("async def app(scope, receive, send): pass\n")

    done = command("check")

    assert done.returncode == 0, done.stderr
    assert "/legacy old.wsgi:application: wsgi" in done.stdout
    assert "/ new.asgi:app: asgi" in done.stdout


def test_output_that_nobody_reads_is_no_traceback(command, tmp_path):
    done = subprocess.run(
        ["sh", "-c", '"$0" -m trilithon serve --help | true', sys.executable],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert done.stderr == ""
