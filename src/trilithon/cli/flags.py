"""Flags and help text derived from the option table."""

from collections.abc import Mapping
from typing import Any

import click

from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.option_row import Kind, Option, Section
from trilithon.foundation.option_sources import CONFIG_VARIABLE
from trilithon.foundation.options import BY_NAME, TABLE

_NAMES_WIDTH = 34
_METAVARS = {Kind.COUNT: "N", Kind.SIZE: "BYTES", Kind.SECONDS: "SECONDS", Kind.TEXT: "TEXT"}


class TableOption(click.Option):
    """The flag of one row; its text goes unconverted to the table, which reads flags and variables alike."""

    def __init__(self, row: Option) -> None:
        names = [row.name, row.flag] if not row.short else [row.name, row.short, row.flag]
        if row.kind is Kind.SWITCH:
            names = [row.name, f"{row.flag}/--no-{row.flag.removeprefix('--')}"]
            super().__init__(names, default=None, help=help_text(row))
        else:
            super().__init__(names, default=None, multiple=row.repeatable, metavar=metavar(row), help=help_text(row))
        self.row = row


class SectionedCommand(click.Command):
    """A command whose help shows the options under the headings of their sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section, and those that are not of the table at the end."""
        for section in Section:
            records = [
                record
                for each in self.params
                if isinstance(each, TableOption) and each.row.section is section
                if (record := each.get_help_record(ctx)) is not None
            ]
            if records:
                write_records(formatter, section.heading, records)
        rest = [
            record
            for each in self.get_params(ctx)
            if isinstance(each, click.Option) and not isinstance(each, TableOption)
            if (record := each.get_help_record(ctx)) is not None
        ]
        write_records(formatter, "Other", rest)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write where options may come from, and the exit codes."""
        write_sources(formatter)
        write_exit_codes(formatter)


def table_options() -> list[click.Parameter]:
    """Return a fresh flag for every row of the table, and `--config`."""
    config = click.Option(
        ["config", "--config"],
        default=None,
        metavar="FILE",
        help=f"TOML file with options. [variable: {CONFIG_VARIABLE}]",
    )
    return [*(TableOption(row) for row in TABLE), config]


def given_flags(parameters: Mapping[str, Any]) -> dict[str, object]:
    """Pick the options that were given out of what click parsed."""
    given: dict[str, object] = {}
    for name, value in parameters.items():
        if name in BY_NAME and value is not None and value != ():
            given[name] = list(value) if isinstance(value, tuple) else value
    return given


def metavar(row: Option) -> str:
    """Return the placeholder of an option's value."""
    if row.kind is Kind.CHOICE:
        return "|".join(row.choices)
    return row.metavar or _METAVARS[row.kind]


def help_text(row: Option) -> str:
    """Return the prose with the default, its unit and what zero means."""
    return f"{row.prose} [{default_text(row)}]"


def default_text(row: Option) -> str:
    """Say the default with its unit, "default: 20 seconds; 0: no limit"."""
    if row.zero and not row.default:
        return f"default: 0, {row.zero}"
    text = f"default: {row.write(row.default) or 'none'}"
    if row.unit:
        text += f" {row.unit}"
    return f"{text}; 0: {row.zero}" if row.zero else text


def write_records(formatter: click.HelpFormatter, heading: str, records: list[tuple[str, str]]) -> None:
    """Write flags and their prose in two columns, which stand at the same place in all sections."""
    with formatter.section(heading):
        formatter.write_dl([(names.ljust(_NAMES_WIDTH), prose) for names, prose in records], col_max=_NAMES_WIDTH)


def write_sources(formatter: click.HelpFormatter) -> None:
    """Write the paragraph about the sources of options."""
    with formatter.section("Where options come from"):
        formatter.write_text(
            "A flag goes before an environment variable, that before trilithon.toml (or [tool.trilithon] in "
            "pyproject.toml), that before the default. Variables are called TRILITHON_ and the option's TOML key in "
            "capitals; trilithon options lists all names. Sizes may be written 64K or 10MiB, times 500ms or 5m."
        )


def write_exit_codes(formatter: click.HelpFormatter) -> None:
    """Write the table of exit codes."""
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(int(code)), code.prose) for code in ExitCode])
