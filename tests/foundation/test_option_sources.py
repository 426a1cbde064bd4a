"""Flags, variables and TOML: every option in each, which one wins, and what a typo leads to."""

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.option_row import Kind, Section
from trilithon.foundation.option_sources import gather
from trilithon.foundation.options import BY_NAME, TABLE, Options

# One text for each kind of option, other than any default.
TEXTS = {
    Kind.SWITCH: "true",
    Kind.COUNT: "77",
    Kind.SIZE: "70000",
    Kind.SECONDS: "77",
}
SPECIAL = {
    "bind": "127.0.0.1:77",
    "mounts": "/x=y:z",
    "environ": "KEY=value",
    "root_path": "/x",
    "app_dir": "src",
    "server_header": "some",
    "log_config": "log.json",
    "write_low_water_bytes": "5000",
    "ws_origins": "https://example.org",
    "ws_deflate_level": "7",
    "ws_deflate_window_bits": "14",
    "ws_deflate_memory_level": "7",
    "certfile": "a.pem",
    "keyfile": "a.key",
    "keyfile_password": "secret",
    "keyfile_password_file": "a.txt",
    "cert_dir": "certificates",
    "ca_certs": "ca.pem",
    "ciphers": "ECDHE+AESGCM",
    "allowed_hosts": "example.org",
    "trusted_proxies": "10.0.0.0/8",
    "h2_max_frame_bytes": "70000",
    "h2_connection_window_bytes": "2000000",
    "unix_mode": "660",
    "unix_owner": "www-data:www-data",
    "control_socket": "site.ctl",
    "pid_file": "site.pid",
    "log_file": "site.log",
    "access_log_file": "access.log",
    "user": "www-data",
    "group": "www-data",
    "umask": "027",
    "reload_dirs": "src",
    "reload_include": "*.html",
    "reload_exclude": "*.tmp",
}
# What an option needs beside it.
BESIDE = {
    "keyfile": {"certfile": "a.pem"},
    "keyfile_password": {"certfile": "a.pem"},
    "keyfile_password_file": {"certfile": "a.pem"},
    "ciphers": {"certfile": "a.pem"},
    "tls_min_version": {"certfile": "a.pem"},
    "client_certs": {"certfile": "a.pem", "ca_certs": "ca.pem"},
    "ca_certs": {"certfile": "a.pem", "client_certs": "required"},
    "forwarded_host": {"forwarded": "x-forwarded"},
    "forwarded_prefix": {"forwarded": "x-forwarded"},
}


def text_for(option):
    """Return a text that the option takes and that is not its default."""
    if option.default is True:
        return "false"
    if option.choices:
        return next(choice for choice in option.choices if choice not in (option.default, "uvloop"))
    return SPECIAL.get(option.name) or TEXTS[option.kind]


def toml_for(option):
    """Return the same as a TOML value."""
    text = text_for(option)
    if option.repeatable:
        return f'["{text}"]'
    return text if option.kind in TEXTS else f'"{text}"'


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_every_option_comes_from_every_source(option, tmp_path):
    text = text_for(option)
    beside = BESIDE.get(option.name, {})
    expected = Options.of({option.name: option.parse(text), **beside})
    flag = gather({option.name: [text] if option.repeatable else text, **beside}, {}, tmp_path)
    variable = gather({}, {option.env: text, **{BY_NAME[name].env: beside[name] for name in beside}}, tmp_path)
    others = "".join(f'{name} = "{beside[name]}"\n' for name in beside)
    (tmp_path / "trilithon.toml").write_text(f"{others}{option.name} = {toml_for(option)}\n")
    top = gather({}, {}, tmp_path)
    (tmp_path / "trilithon.toml").write_text(f"{others}[{option.section.table}]\n{option.name} = {toml_for(option)}\n")
    table = gather({}, {}, tmp_path)

    assert flag.options == variable.options == top.options == table.options == expected != Options()
    assert [each.origins[option.name] for each in (flag, variable, top, table)] == [
        option.flag,
        option.env,
        f"trilithon.toml: {option.name}",
        f"trilithon.toml: {option.name}",
    ]


def test_a_flag_beats_a_variable_beats_toml_beats_the_default(tmp_path):
    (tmp_path / "trilithon.toml").write_text("threads = 2\nbacklog = 2\nmax_fields = 2\n")

    settings = gather({"threads": "4"}, {"TRILITHON_THREADS": "3", "TRILITHON_BACKLOG": "3"}, tmp_path)

    options = settings.options
    assert (options.threads, options.backlog, options.max_fields, options.max_requests) == (4, 3, 2, 0)
    assert settings.file == "trilithon.toml"
    assert [settings.origins[name] for name in ("threads", "backlog", "max_fields", "max_requests")] == [
        "--threads",
        "TRILITHON_BACKLOG",
        "trilithon.toml: max_fields",
        "default",
    ]


def test_lists_replace_and_do_not_add_up(tmp_path):
    (tmp_path / "trilithon.toml").write_text('bind = ["127.0.0.1:1"]')

    assert gather({"bind": [":2", ":3"]}, {}, tmp_path).options.bind == (":2", ":3")


def test_the_table_in_pyproject_is_read(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.trilithon]\nthreads = 3\n")

    settings = gather({}, {}, tmp_path)

    assert settings.options.threads == 3
    assert settings.origins["threads"] == "pyproject.toml [tool.trilithon]: threads"


def test_a_pyproject_without_the_table_counts_for_nothing(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\nline-length = 3\n")

    assert gather({}, {}, tmp_path).file == ""


def test_options_in_both_files_are_refused_unless_one_is_named(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.trilithon]\nthreads = 3\n")
    (tmp_path / "trilithon.toml").write_text("threads = 4\n")

    with pytest.raises(ConfigError, match="both files"):
        gather({}, {}, tmp_path)
    assert gather({}, {}, tmp_path, "pyproject.toml").options.threads == 3
    assert gather({}, {"TRILITHON_CONFIG": "trilithon.toml"}, tmp_path).options.threads == 4
    assert gather({}, {"TRILITHON_CONFIG": "pyproject.toml"}, tmp_path, "trilithon.toml").options.threads == 4


def test_mounts_and_environ_may_be_tables(tmp_path):
    (tmp_path / "trilithon.toml").write_text('[mounts]\n"/a" = "x:y"\n"/" = "z:y"\n[environ]\nSITE = "one"\n')

    options = gather({}, {}, tmp_path).options

    assert options.mount_table() == (("/a", "x:y"), ("/", "z:y"))
    assert options.environ_table() == {"SITE": "one"}


def test_toml_takes_quantities_with_their_unit(tmp_path):
    (tmp_path / "trilithon.toml").write_text('max_body_bytes = "10MiB"\nwrite_timeout_s = "5m"\nbody_timeout_s = 3\n')

    options = gather({}, {}, tmp_path).options

    assert (options.max_body_bytes, options.write_timeout_s, options.body_timeout_s) == (10 << 20, 300.0, 3.0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("thread = 4", "trilithon.toml: thread = 4: no such option; did you mean threads?"),
        ("[timeouts]\nkeep_alive = 4", "did you mean keep_alive_timeout_s?"),
        ("[timeout]\nwrite_timeout_s = 4", "did you mean timeouts?"),
        ("[timeouts]\nthreads = 4", r"belongs into \[run\]"),
        ("write_timeout_s = 1\n[timeouts]\nwrite_timeout_s = 4", "given twice"),
        ("threads = '4'", "trilithon.toml: threads = '4': must be a whole number"),
        ("factory = 1", "must be true or false"),
        ("bind = '127.0.0.1:80'", "must be a list"),
        ("bind = ['80']", "trilithon.toml: bind = '80'"),
        ("max_body_bytes = 'many'", "trilithon.toml: max_body_bytes = 'many'"),
        ("threads = ", "is not TOML"),
        ("[mounts]\n'/a' = 3", "names no application"),
    ],
)
def test_a_broken_file_names_the_place_and_the_remedy(document, message, tmp_path):
    (tmp_path / "trilithon.toml").write_text(document)

    with pytest.raises(ConfigError, match=message):
        gather({}, {}, tmp_path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        gather({}, {}, tmp_path, "missing.toml")
    with pytest.raises(ConfigError, match="UTF-8"):
        gather({}, {}, tmp_path, "binary.toml")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("TRILITHON_THREAD", "4", "no such variable; did you mean TRILITHON_THREADS?"),
        ("TRILITHON_GRACEFUL_TIMEOUT", "4", "did you mean TRILITHON_GRACEFUL_TIMEOUT_S?"),
        ("TRILITHON_CONFG", "x", "did you mean TRILITHON_CONFIG?"),
        ("TRILITHON_THREADS", "many", "TRILITHON_THREADS = 'many': must be a whole number"),
        ("TRILITHON_THREADS", "0", "TRILITHON_THREADS = 0"),
        ("TRILITHON_BIND", "80", "TRILITHON_BIND = '80'"),
        ("TRILITHON_FACTORY", "2", "must be one of true, false"),
        ("TRILITHON_WRITE_LOW_WATER_BYTES", "1M", "TRILITHON_WRITE_LOW_WATER_BYTES = 1048576: must be below"),
    ],
)
def test_a_broken_variable_is_named(variable, text, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        gather({}, {variable: text}, tmp_path)

    assert message in str(caught.value)


def test_variables_that_an_orchestrator_injects_for_a_service_of_that_name_are_left_alone(tmp_path):
    environ = {
        "TRILITHON_PORT": "tcp://10.0.0.1:80",
        "TRILITHON_PORT_80_TCP_ADDR": "10.0.0.1",
        "TRILITHON_SERVICE_HOST": "10.0.0.1",
        "TRILITHON_PURE": "1",
        "PATH": "/bin",
    }

    assert gather({}, environ, tmp_path).options == Options()
    assert not [
        option.env for option in TABLE if option.name.startswith(("port", "service", "env_")) or option.name == "name"
    ]


def test_a_broken_flag_is_named(tmp_path):
    with pytest.raises(ConfigError, match="--mount = 'x'"):
        gather({"mounts": ["x"]}, {}, tmp_path)


def test_sections_and_options_share_no_name_but_none():
    assert not {section.table for section in Section} & set(BY_NAME)
