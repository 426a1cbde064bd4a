"""The error page of development: what it says about a fault, to whom, and what it keeps to itself."""

import contextlib
import http.client
import os
import re
import sys
import textwrap
import threading

import pytest

from trilithon.foundation.errors import ConfigError, LoadError, StartupError
from trilithon.testing import serve
from trilithon.worker.error_page import ErrorPage, page
from trilithon.worker.fault_report import MAX_FRAMES, masked, report
from trilithon.worker.loader import explain, load

pytestmark = pytest.mark.real


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """Return a function that loads a module with this text and returns the report of the fault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])

    def load_text(text, name="broken_shop", **others):
        for other, content in {**others, name: text}.items():
            (tmp_path / f"{other}.py").write_text(textwrap.dedent(content), encoding="utf-8")
        with pytest.raises(LoadError) as caught:
            load(f"{name}:app")
        return report(caught.value, explain(caught.value))

    yield load_text
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def visible(html):
    """Return the text of a page without its tags, style and script."""
    return re.sub(r"<[^>]*>", "", re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL))


def marked(html):
    """Return the lines that are marked as the place of the fault, without their numbers."""
    lines = re.findall(r"<mark><i>\d+</i>(.*?)\n</mark>", html)
    return [re.sub(r"<[^>]*>", "", line).strip() for line in lines]


def test_a_syntax_error_is_shown_in_its_line(broken):
    found = broken("def app(environ, start):\n    if environ['PATH_INFO'] == '/'\n        return []\n")
    raised = found.raised[0]
    assert (raised.name, raised.message) == ("SyntaxError", "expected ':'")
    assert (raised.frames[0].file, raised.frames[0].line, raised.frames[0].is_own) == ("broken_shop.py", 2, True)
    assert found.subject == "broken_shop:app cannot be loaded"
    html = page(found)
    assert marked(html)[0] == "if environ[&#x27;PATH_INFO&#x27;] == &#x27;/&#x27;"
    assert "<u> </u>" in html
    assert "<title>SyntaxError</title>" in html


def test_own_frames_come_before_those_of_libraries(broken):
    found = broken("import json\n\ndef made():\n    return json.loads('{')\n\napp = made()\n")
    frames = found.raised[0].frames
    assert [(frame.file, frame.function) for frame in frames if frame.is_own] == [
        ("broken_shop.py", "made"),
        ("broken_shop.py", "<module>"),
    ]
    assert [frame.file for frame in frames if not frame.is_own][-1] == "json/__init__.py"
    html = page(found)
    assert html.index("<figure class='own'>") < html.index("json/decoder.py")
    assert marked(html)[0] == "return json.loads(&#x27;{&#x27;)"
    assert "trilithon/worker" not in html


def test_what_led_to_it_is_told(broken):
    text = """
        try:
            import broken_settings
        except ImportError as fault:
            raise RuntimeError("no settings") from fault
    """
    found = broken(text, broken_settings="import not_installed_anywhere\n")
    assert [(raised.relation, raised.name) for raised in found.raised] == [
        ("", "RuntimeError"),
        ("caused by", "ModuleNotFoundError"),
    ]
    assert "not_installed_anywhere" in visible(page(found))


def test_groups_contexts_and_notes_are_told(broken):
    text = """
        try:
            1 / 0
        except ZeroDivisionError:
            fault = ExceptionGroup("several", [ValueError("one"), TypeError("two")])
            fault.add_note("look at the settings")
            raise fault
    """
    found = broken(text)
    assert [(raised.relation, raised.name) for raised in found.raised] == [
        ("", "ExceptionGroup"),
        ("in the group, 1 of 2", "ValueError"),
        ("in the group, 2 of 2", "TypeError"),
        ("raised while handling", "ZeroDivisionError"),
    ]
    assert "look at the settings" in found.raised[0].message


def test_a_recursion_is_shown_in_part(broken):
    found = broken("def again():\n    again()\n\nagain()\n")
    assert len(found.raised[0].frames) == MAX_FRAMES
    assert re.search(r"and \d{3,} older ones", visible(page(found)))


def test_a_fault_without_a_traceback_is_its_remedy(broken):
    found = broken("application = 7\n")
    assert not found.raised[0].frames
    assert "has no &#x27;app&#x27;" in page(found)


def test_text_of_the_application_is_escaped(broken):
    html = page(broken("raise ValueError('<script>alert(1)</script> & \\udc80')\n"))
    assert html.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp;" in html


def test_secrets_and_variables_stay_out_of_it(broken, monkeypatch):
    monkeypatch.setenv("SHOP_MODE", "variable-of-the-environment")
    text = """
        import os
        SHOP_MODE = os.environ["SHOP_MODE"]
        API_KEY = "hunter-one"
        settings = {"password": 'hunter-two', "Stripe-Secret-Key": "hunter-three"}
        DATABASE = "postgres://me:hunter-four@localhost/shop"
        local = "harmless"
        raise ValueError("cannot reach " + DATABASE)
    """
    found = broken(text)
    html = page(found) + found.text
    assert "hunter" not in html
    assert "variable-of-the-environment" not in html
    assert "postgres://me:\N{BULLET}" in html
    assert "harmless" in html


@pytest.mark.parametrize(
    "line",
    [
        "token = make(request)",
        "assert password == other",
        "def sign(key: str, secret: bytes) -> None:",
        "http://localhost:8000/path",
    ],
)
def test_code_without_a_secret_is_shown_as_it_is(line):
    assert masked(line) == line


def test_a_failed_start_up_is_read_from_its_message(broken, tmp_path):
    (tmp_path / "broken_db.py").write_text("def connect():\n    raise OSError('no database')\n")
    message = (
        "Traceback (most recent call last):\n"
        f'  File "{os.__file__}", line 5, in lifespan\n    await x()\n    ^^^^\n'
        f"  File \"{tmp_path}/broken_db.py\", line 2, in connect\n    raise OSError('no database')\n"
        "OSError: no database: at all\n"
    )
    found = report(StartupError(message), message)
    raised = found.raised[0]
    assert (found.subject, raised.name, raised.message) == (
        "the application's start-up failed",
        "OSError",
        "no database: at all",
    )
    assert [(frame.line, frame.function, frame.is_own) for frame in raised.frames] == [
        (2, "connect", True),
        (5, "lifespan", False),
    ]
    assert marked(page(found))[0] == "raise OSError(&#x27;no database&#x27;)"


def test_a_start_up_without_a_traceback_is_its_message():
    assert report(StartupError("the database is away"), "").raised[0].message == "the database is away"


def test_a_fault_of_the_options_and_one_of_ours_are_told():
    assert report(ConfigError("certfile", "x", "is not there"), "").raised[0].message == "certfile = 'x': is not there"
    assert report(RuntimeError("odd"), "").raised[0].name == "RuntimeError"


@pytest.fixture
def site(broken):
    """Serve the error page of a syntax error."""
    with serve(ErrorPage(broken("app = (\n")), lifespan="off", stream_grace_s=0.0) as running:
        yield running


@contextlib.contextmanager
def ask(site, method="GET", **fields):
    """Send a request; gives the answer, whose body is still to be read."""
    connection = http.client.HTTPConnection(site.host, site.port, timeout=20)
    with contextlib.closing(connection):
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, "/any/path", headers=headers)
        yield connection.getresponse()


BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def test_browsers_get_a_page_and_others_text(site):
    with ask(site, Accept=BROWSER) as answer:
        html = answer.read().decode()
    assert (answer.status, answer.headers["Content-Type"]) == (500, "text/html; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-store"
    assert html.startswith("<!doctype html>")
    assert f"data-fault='{answer.headers['Trilithon-Fault']}' data-method='GET'" in html
    assert not re.search(r"(?:src|href)=['\"](?!data:)", html)
    for accept in ("*/*", "application/json"):
        with ask(site, Accept=accept) as answer:
            text = answer.read().decode()
        assert (answer.status, answer.headers["Content-Type"]) == (500, "text/plain; charset=utf-8")
        assert text.startswith(("Traceback (most recent call last):", '  File "'))
        assert "SyntaxError: '(' was never closed" in text


def test_every_method_is_answered(site):
    with ask(site, "HEAD", Accept=BROWSER) as answer:
        assert (answer.status, answer.read()) == (500, b"")
        assert int(answer.headers["Content-Length"]) > 5000
    with ask(site, "POST", Accept=BROWSER) as answer:
        assert b"data-method='POST'" in answer.read()


def test_a_websocket_is_refused(site):
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    with ask(site, **fields, Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==") as answer:
        assert answer.status == 403


def test_a_watching_page_hears_the_end_of_the_worker(site):
    with ask(site) as answer:
        ident = answer.headers["Trilithon-Fault"]
    with ask(site, Trilithon_Watch=ident) as answer:
        assert answer.read(1) == b"\n"
        ended = []
        reader = threading.Thread(target=lambda: ended.append(answer.read()))
        reader.start()
        assert not ended
        site.server.stop()
        reader.join(20)
        assert ended == [b""]


def test_a_page_of_another_fault_is_let_go_at_once(site):
    with ask(site, Trilithon_Watch="another") as answer:
        assert answer.read() == b"\n"
        assert answer.headers["Trilithon-Fault"] not in ("", "another")
