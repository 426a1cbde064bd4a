"""The command `trilithon`: which subcommand is meant, errors turned into messages and exit codes."""

import os
import platform
import sys
from collections.abc import Sequence
from difflib import get_close_matches

import click

from trilithon.cli.control import ctl
from trilithon.cli.flags import TableOption, write_exit_codes, write_records
from trilithon.cli.reference import listing, markdown
from trilithon.cli.serving import check, serve
from trilithon.foundation import leaf
from trilithon.foundation.errors import ConfigError, LoadError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.version import VERSION
from trilithon.supervisor.heritage import VARIABLE, tell_failure
from trilithon.worker.crashes import show_crashes
from trilithon.worker.leaving import END_S, leave
from trilithon.worker.loader import explain

_OWN_FLAGS = ("--help", "-h", "--version", "-V")
# What people type for the flags; `trilithon serve help` reaches a module of that name.
_WORDS = {"help": "--help", "version": "--version"}


class MainGroup(click.Group):
    """The command itself, whose help shows the options for every day and where to find the others."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the forms of the command line."""
        formatter.write_usage("trilithon", "APP [OPTIONS]")
        formatter.write_usage("trilithon", "COMMAND [ARGUMENTS]", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options that are used most."""
        self.format_commands(ctx, formatter)
        everyday = [each for each in serve.params if isinstance(each, TableOption) and each.row.everyday]
        records = [record for each in everyday if (record := each.get_help_record(ctx)) is not None]
        write_records(formatter, "Options used most; trilithon serve --help shows all", records)
        own = [record for each in self.get_params(ctx) if (record := each.get_help_record(ctx)) is not None]
        write_records(formatter, "Other", own)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        write_exit_codes(formatter)


def version() -> str:
    """Return the version, which build runs and on which Python."""
    build = "compiled" if leaf.COMPILED else "pure Python"
    return f"trilithon {VERSION}, {build}, {platform.python_implementation()} {platform.python_version()}"


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(version())
        ctx.exit()


@click.command("options")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the documentation page instead.")
def options_command(as_markdown: bool) -> int:
    """List all options with their names in every source."""
    click.echo(markdown() if as_markdown else listing(), nl=False)
    return ExitCode.OK


group = MainGroup(
    "trilithon",
    help="Serve a WSGI or ASGI application. trilithon APP is short for trilithon serve APP.",
    commands=[serve, check, ctl, options_command],
    params=[
        click.Option(
            ["-V", "--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_print_version,
            help="Show the version and which build runs.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; `arguments` are those of the process when left out.

    The process ends with it then, whatever threads the application has left: at once, or soon behind a graceful stop.
    """
    if arguments is not None:
        return run(arguments)
    show_crashes()
    try:
        code = run(sys.argv[1:])
    except Exception:
        code = ExitCode.UNEXPECTED
        sys.excepthook(*sys.exc_info())
    leave(code, END_S if code == ExitCode.OK else 0.0)
    return code


def run(arguments: Sequence[str]) -> int:
    """Run the command with `arguments` and return its exit code."""
    arguments = list(arguments)
    _fill_standard_streams()
    try:
        result = group.main(_routed(arguments), prog_name="trilithon", standalone_mode=False)
        sys.stdout.flush()
        return int(result or ExitCode.OK)
    except click.ClickException as fault:
        fault.show()
        return _failed(fault.format_message(), ExitCode.USAGE)
    except LoadError as fault:
        click.echo(explain(fault), err=True)
        return _failed(explain(fault), ExitCode.LOAD)
    except ConfigError as fault:
        click.echo(f"trilithon: {fault}", err=True)
        return _failed(f"trilithon: {fault}", ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2  # SIGINT before the server took its signals over
    except BrokenPipeError:
        # The reader of our output is gone, as in `trilithon --help | head`; closing must not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.UNEXPECTED


def _failed(reason: str, code: ExitCode) -> int:
    """Return an exit code; a program before this one, which waits for it to serve, is told why it does not."""
    if VARIABLE in os.environ:
        tell_failure(os.environ, reason)
    return code


def _fill_standard_streams() -> None:
    """Open the null device where descriptors 0 to 2 are closed: no socket may get what is meant for standard error.

    The interpreter has no stream for one that was closed; applications are given it, for few of them look first.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            os.set_inheritable(descriptor, True)  # or a worker that is spawned would lack it again
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", closefd=False))


def _routed(arguments: list[str]) -> list[str]:
    """Put `serve` before what does not begin with a command or a flag of the command itself."""
    if not arguments:
        return ["serve"]
    first = arguments[0]
    if len(arguments) == 1 and first in _WORDS:
        return [_WORDS[first]]
    if first in group.commands or first in _OWN_FLAGS:
        return arguments
    plain = first.isidentifier() and len(arguments) > 1 and not arguments[1].startswith("-")
    near = get_close_matches(first, list(group.commands), n=1)
    if plain and near:
        raise click.UsageError(f"No such command '{first}'. Did you mean '{near[0]}'?")
    return ["serve", *arguments]
