"""`trilithon check` and the errors of the command line: messages for people and documented exit codes."""

import json
import re

import pytest

from trilithon.foundation.options import TABLE

pytestmark = [pytest.mark.real, pytest.mark.once]

SITE = """
    def app(environ, start_response): pass
    async def api(scope, receive, send): pass
    class old:
        def __init__(self, scope): pass
        async def __call__(self, receive, send): pass
    def make(): return api
    number = 3
"""


@pytest.fixture(autouse=True)
def site(write):
    """Have an application in the directory."""
    write({"site_under_test.py": SITE, "notes.txt": ""})


def rows(text):
    """Return the printed options as name -> (value, origin)."""
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"  (\w+) +(.*?)  +(\S.*)| {2}(\w+) +(.*) (\S+)", line):
            name, value, origin = match[1] or match[4], match[2] or match[5], match[3] or match[6]
            found[name] = (value, origin)
    return found


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("site_under_test", "site_under_test:app: wsgi, a function app(environ, start_response)"),
        ("site_under_test:api", "site_under_test:api: asgi, a coroutine function api(scope, receive, send)"),
        ("site_under_test:old", "site_under_test:old: asgi2, the class old(scope)"),
        ("site_under_test.py:api", "site_under_test:api: asgi"),
        ("./site_under_test.py", "site_under_test:app: wsgi"),
    ],
)
def test_check_says_the_interface_and_serves_nothing(command, target, said):
    done = command("check", target)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(said)
    assert done.stderr == ""


def test_check_shows_every_option_with_its_origin(command, write):
    write({"trilithon.toml": "threads = 3\n[timeouts]\nwrite_timeout_s = '2m'\n"})

    done = command(
        "check", "site_under_test", "-b", ":0", "-b", "unix:/a", TRILITHON_BACKLOG="5", TRILITHON_THREADS="4"
    )

    shown = rows(done.stdout)
    assert list(shown) == [option.name for option in TABLE]
    assert shown["bind"] == (":0, unix:/a", "--bind")
    assert shown["backlog"] == ("5", "TRILITHON_BACKLOG")
    assert shown["threads"] == ("4", "TRILITHON_THREADS")
    assert shown["write_timeout_s"] == ("120", "trilithon.toml: write_timeout_s")
    assert shown["max_fields"] == ("100", "default")
    assert "options, file: trilithon.toml" in done.stdout


def test_check_reads_the_certificates(command, write):
    write({"empty.pem": ""})
    for file, said in (("empty.pem", "holds no"), ("missing.pem", "cannot be read")):
        result = command("check", "site_under_test:app", "--certfile", file)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"certfile = '{file}'" in result.stderr
        assert said in result.stderr


def test_check_of_mounts_needs_no_application(command):
    done = command("check", "--mount", "/old=site_under_test:app", "--mount", "/=site_under_test:api")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        "/old site_under_test:app: wsgi, a function app(environ, start_response)",
        "/ site_under_test:api: asgi, a coroutine function api(scope, receive, send)",
    ]


def test_a_usual_module_is_pointed_to_where_no_application_is_named(command, write):
    write({"main.py": SITE})

    assert "Here is main.py: trilithon main," in command().stderr


def test_check_of_an_application_with_mounts_beside_it(command):
    done = command("check", "site_under_test:make", "--factory", "--mount", "/old=site_under_test:app")

    assert done.returncode == 0, done.stderr
    assert "/ site_under_test:make: asgi" in done.stdout and "/old site_under_test:app: wsgi" in done.stdout


def test_a_switch_of_the_environment_can_be_taken_back(command):
    assert command("check", "site_under_test:make", TRILITHON_FACTORY="1").returncode == 0
    assert command("check", "site_under_test:api", "--no-factory", TRILITHON_FACTORY="1").returncode == 0


def test_the_application_may_be_in_another_directory(command, write):
    write({"src/elsewhere_one.py": SITE})

    assert command("check", "elsewhere_one:app").returncode == 3
    assert command("check", "elsewhere_one:app", "--app-dir", "src").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "site_under_test:ap"], 3, "'site_under_test' has no 'ap'; did you mean app?"),
        (["site_under_test:ap"], 3, "'site_under_test' has no 'ap'; did you mean app?"),
        (["check", "site_under_tset"], 3, "did you mean site_under_test?"),
        (["check", "site_under_test:number"], 3, "an int object, which cannot be called"),
        (["check", "site_under_test:make"], 3, "add --factory"),
        (["check", "site_under_test:api", "--interface", "wsgi"], 3, "type --interface asgi"),
        (["check", "site_under_test:api", "--interface", "asgy"], 2, "--interface = 'asgy': must be one of"),
        (["check", "site_under_test", "--intrface", "wsgi"], 2, "--interface?)"),
        (["site_under_test", "--intrface", "wsgi"], 2, "--interface?)"),
        (["check", "site_under_test", "--threads", "none"], 2, "--threads = 'none': must be a whole number"),
        (["check", "site_under_test", "--threads"], 2, "requires an argument"),
        (["check", "site_under_test", "-b", "8000"], 2, "type 127.0.0.1:8000"),
        (["check", "site_under_test", "--bind", "::1:80"], 2, "brackets"),
        (["check", "site_under_test", "--mount", "/=site_under_test:api"], 2, "is served at / already"),
        (["check", "site_under_test", "--config", "missing.toml"], 2, "cannot be read"),
        (["check", "site_under_test", "--log-config", "missing.json"], 2, "cannot be read"),
        (["check", "site_under_test", "and", "more"], 2, "unexpected extra arguments"),
        (["chek", "site_under_test"], 2, "No such command 'chek'. Did you mean 'check'?"),
        (["serv", "site_under_test"], 2, "Did you mean 'serve'?"),
        (["check"], 2, "Type trilithon module:attr, or trilithon --help."),
        (["notes.txt"], 3, "notes.txt is no Python file"),
        ([], 2, "Type trilithon module:attr"),
        (["--versoin"], 2, "No such option"),
        (["check", "--app-dir", "missing", "site_under_test"], 3, "is not a directory"),
    ],
)
def test_mistakes_end_in_one_message_and_the_documented_code(command, arguments, code, message):
    done = command(*arguments)

    # Some versions of click put what they suggest into quotes.
    assert message in re.sub(r"\s+", " ", done.stderr).replace("'--interface'", "--interface")
    assert done.returncode == code
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("TRILITHON_THREAD", "2", "no such variable; did you mean TRILITHON_THREADS?"),
        ("TRILITHON_THREADS", "x", "TRILITHON_THREADS = 'x'"),
        ("TRILITHON_CONFIG", "missing.toml", "cannot be read"),
    ],
)
def test_mistakes_in_variables(command, variable, text, message):
    done = command("check", "site_under_test", **{variable: text})

    assert message in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("thread = 2", "trilithon.toml: thread = 2: no such option; did you mean threads?"),
        ("threads = 'x'", "trilithon.toml: threads = 'x'"),
        ("threads 2", "is not TOML"),
    ],
)
def test_mistakes_in_the_file(command, write, document, message):
    write({"trilithon.toml": document})

    done = command("check", "site_under_test")

    assert message in done.stderr
    assert done.returncode == 2


def test_an_error_inside_the_application_shows_its_traceback_and_no_frame_of_ours(command, write, tmp_path):
    write({"broken.py": "import site_under_test\nimport helper_of_broken\n", "helper_of_broken.py": "1 / 0\n"})

    done = command("check", "broken:app")

    assert done.returncode == 3
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File ")]
    assert frames == [
        f'  File "{tmp_path}/broken.py", line 2, in <module>',
        f'  File "{tmp_path}/helper_of_broken.py", line 1, in <module>',
    ]
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("trilithon: application = 'broken:app': importing it raised")


def test_a_dependency_that_is_not_installed_is_no_missing_application(command, write):
    write({"needs.py": "import not_installed_anywhere\n"})

    done = command("check", "needs:app")

    assert done.returncode == 3
    assert "No module named 'not_installed_anywhere'" in done.stderr and "needs.py" in done.stderr


def test_a_logging_configuration_is_checked_too(command, write):
    write({"log.json": "{", "good.json": json.dumps({"version": 1})})

    assert "is not JSON" in command("check", "site_under_test", "--log-config", "log.json").stderr
    assert command("check", "site_under_test", "--log-config", "good.json").returncode == 0


def test_the_table_in_pyproject_counts(command, write):
    write({"pyproject.toml": "[tool.trilithon]\nthreads = 3\n"})

    assert rows(command("check", "site_under_test").stdout)["threads"] == (
        "3",
        "pyproject.toml [tool.trilithon]: threads",
    )
