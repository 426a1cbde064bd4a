"""The reference of all options, as the documentation page and as a short list."""

from trilithon.cli.flags import metavar
from trilithon.foundation.exit_codes import ExitCode
from trilithon.foundation.option_row import Kind, Option, Section
from trilithon.foundation.options import TABLE

_HEAD = """\
# Options

<!-- Written by `trilithon options --markdown`; change the table in the source instead. -->

Every option has one name. It is the keyword of `trilithon.run(app, ...)` and `trilithon.Options(...)`, the key in TOML,
the flag with dashes (without the `_s` of seconds) and the environment variable in capitals after `TRILITHON_`.

A flag goes before an environment variable, that before TOML, that before the default. `trilithon check APP` shows
every value with the place it came from. An unknown key, variable or flag is an error. Variables and TOML are read by
the command alone; `trilithon.run(app, ...)` and `trilithon.Options(...)` take what they are given and nothing else.

TOML is read from `trilithon.toml` in the current directory, or from the table `[tool.trilithon]` of `pyproject.toml`
there, or from the file that `--config` or `TRILITHON_CONFIG` names. A key stands at the top or in the table of its
section:

```toml
bind = ["127.0.0.1:8000", "unix:/run/site.sock"]
threads = 16

[timeouts]
keep_alive_timeout_s = 30

[mounts]
"/legacy" = "old.wsgi:application"
"/" = "new.asgi:app"
```

Sizes take a suffix in text, `64K` or `10MiB` (powers of 1024), times `500ms`, `30s`, `5m` or `1h`. In a variable,
commas separate the values of a list, or line breaks where the values hold commas.
"""


def markdown() -> str:
    """Return the documentation page of all options and exit codes."""
    parts = [_HEAD]
    for section in Section:
        rows = [option for option in TABLE if option.section is section]
        parts.append(f"\n## {section.heading}\n\nTOML table `[{section.table}]`.\n\n")
        parts.append("| TOML key, keyword | flag | variable | default | meaning |\n|---|---|---|---|---|\n")
        parts.extend(_table_line(option) for option in rows)
    parts.append("\n## Exit codes\n\n| code | meaning |\n|--:|---|\n")
    parts.extend(f"| {int(code)} | {code.prose} |\n" for code in ExitCode)
    return "".join(parts)


def listing() -> str:
    """Return one line for each option: its TOML key, flag and variable."""
    lines = []
    for section in Section:
        lines.append(f"{section.heading}, TOML table [{section.table}]\n")
        lines.extend(
            f"  {option.name:28}{option.flag:30}{option.env}\n" for option in TABLE if option.section is section
        )
    return "".join(lines)


def _table_line(option: Option) -> str:
    flags = f"`{option.short}`, `{option.flag}`" if option.short else f"`{option.flag}`"
    value = option.write(option.default)
    default = (f"`{value}`" if value else "none") + (f" {option.unit}" if option.unit else "")
    return f"| `{option.name}` | {flags} | `{option.env}` | {default} | {_meaning(option)} |\n"


def _meaning(option: Option) -> str:
    text = option.prose.replace("|", "\\|")
    if option.kind is Kind.CHOICE:
        text += " One of " + ", ".join(f"`{choice}`" for choice in option.choices) + "."
    elif option.metavar:
        text += f" Value: `{metavar(option)}`."
    if option.zero:
        text += f" 0: {option.zero}."
    if option.minimum and option.kind in (Kind.COUNT, Kind.SIZE):
        text += f" At least {option.minimum}."
    return text
