"""The commands that need an application: serve it, or check it and its options without serving."""

import os
from pathlib import Path
from typing import Any

import click

from trilithon.cli.flags import SectionedCommand, given_flags, table_options
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.option_sources import Settings, gather
from trilithon.foundation.options import TABLE
from trilithon.foundation.tls_options import uses_tls
from trilithon.net.certificates import open_store
from trilithon.worker.interface import describe
from trilithon.worker.loader import load
from trilithon.worker.logs import read_log_config

_USUAL_MODULES = ("main", "app", "application", "asgi", "wsgi")

_APP_HELP = """
APP is module:attr, a module alone (its app, application or create_app is taken), a .py file with or without :attr,
or the settings module of a Django project. With --mount or mounts in TOML it may be left out.
"""


def _serve(app: str | None, **parameters: Any) -> int:
    """Serve APP until SIGINT or SIGTERM."""
    settings = _settings(parameters)
    _need_application(app, settings)
    # Imported here because checking and help need no engine.
    from trilithon.supervisor.supervising import serve

    return serve(app, settings.options, os.environ, lambda: _settings(parameters).options, is_program=True)


def _check(app: str | None, **parameters: Any) -> int:
    """Load APP and the certificates, print its interface and the options in effect; serve nothing."""
    settings = _settings(parameters)
    _need_application(app, settings)
    options = settings.options
    if options.log_config:
        read_log_config(options.log_config)
    if uses_tls(options):
        open_store(options, [])
    targets = [("/", app, options.factory)] if app else []
    # A mount names the application itself; --factory is about APP.
    targets += [(prefix, target, False) for prefix, target in options.mount_table()]
    for prefix, target, factory in targets:
        loaded = load(target, interface=options.interface, factory=factory, app_dir=options.app_dir)
        place = f"{prefix} " if options.mounts else ""
        click.echo(f"{place}{loaded.target}: {loaded.interface}, {describe(loaded.app)}")
    click.echo(f"options, file: {settings.file or 'none'}")
    for option in TABLE:
        value = option.write(getattr(options, option.name)) or '""'
        click.echo(f"  {option.name:28}{value:28} {settings.origins[option.name]}")
    return ExitCode.OK


def _settings(parameters: dict[str, Any]) -> Settings:
    return gather(given_flags(parameters), os.environ, Path.cwd(), parameters["config"])


def _need_application(app: str | None, settings: Settings) -> None:
    prefixes = [prefix for prefix, _ in settings.options.mount_table()]
    if app is None and not prefixes:
        names = [name for name in _USUAL_MODULES if (Path(settings.options.app_dir) / f"{name}.py").is_file()]
        here = f" Here is {names[0]}.py: trilithon {names[0]}" if names else " Type trilithon module:attr"
        raise click.UsageError(f"No application is named.{here}, or trilithon --help.")
    if app is not None and "/" in prefixes:
        raise ConfigError(
            settings.origins["mounts"], "/", f"{app} is served at / already; leave it out or mount it under a path"
        )


def _command(name: str, run: Any, first_line: str) -> SectionedCommand:
    return SectionedCommand(
        name,
        callback=run,
        help=first_line + "\n" + _APP_HELP,
        short_help=first_line,
        params=[click.Argument(["app"], required=False, metavar="[APP]"), *table_options()],
    )


serve = _command("serve", _serve, "Serve an application until SIGINT or SIGTERM.")
check = _command("check", _check, "Load an application, show its interface and the options in effect.")
