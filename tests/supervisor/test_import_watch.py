"""What is told of an application that starts threads, opens things or makes loops while it is imported."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from trilithon.foundation import errors

pytestmark = [pytest.mark.real, pytest.mark.once]

SOURCE = Path(errors.__file__).resolve().parents[2]

# What the template process does, without its channel: watch, load, collect, report; then fork, and look once more.
# One process has imported all that takes long, and is forked for each case.
WATCHING = """
import asyncio, concurrent.futures, gc, json, logging.handlers, os, socket, sqlite3, subprocess, sys, threading

from trilithon.foundation.errors import LoadError
from trilithon.supervisor.import_report import report, report_native_threads
from trilithon.supervisor.import_watch import ImportWatch
from trilithon.worker.loader import load


def observe(target, factory, error=""):
    unwrapped = threading.Thread.start, socket.socket.__init__, subprocess.Popen.__init__
    with ImportWatch(target) as watch:
        try:
            load(target, factory=factory)
        except LoadError as fault:
            error = str(fault)
    gc.collect()
    lines = report(watch)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    native = report_native_threads(watch)
    for process, _ in watch.processes:
        process.kill()
        process.wait()
    put_back = unwrapped == (threading.Thread.start, socket.socket.__init__, subprocess.Popen.__init__)
    return {"lines": lines, "native": native, "put_back": put_back, "error": error}


for line in sys.stdin:
    case = json.loads(line)
    child = os.fork()
    if not child:
        os.chdir(case["directory"])
        sys.path[1:1] = case["path"]
        print(json.dumps(observe(case["target"], case["factory"])), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("{}", flush=True)
"""
APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return []
"""
FIRST_USE = "in the lifespan start-up or on first use"
NO_WORKER = f"no worker would have it: start it {FIRST_USE}"
SHARED = f"each worker would share it: open it {FIRST_USE}"


@pytest.fixture(scope="module")
def observer():
    """Start the process that is forked for each case."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", WATCHING],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    process.stdin.close()
    process.stdout.close()
    assert process.wait() == 0


@pytest.fixture
def watched(tmp_path, observer):
    """Return a function that writes modules, loads the target and gives the lines about it."""

    def watch(target="shop.web:app", modules=None, factory=False, path=()):
        for name, text in {"shop.__init__": "", **(modules or {})}.items():
            file = tmp_path / (name.replace(".", "/") + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).lstrip("\n"))
        case = {"directory": str(tmp_path), "target": target, "factory": factory, "path": [str(each) for each in path]}
        observer.stdin.write(json.dumps(case) + "\n")
        observer.stdin.flush()
        seen = json.loads(observer.stdout.readline())
        assert seen["put_back"]
        watch.error = seen["error"]
        watch.native = [line.removeprefix("preload: ") for line in seen["native"]]
        return [line.removeprefix("preload: ") for line in seen["lines"]]

    return watch


def only(lines):
    """Return the one line there is."""
    assert len(lines) == 1, lines
    return lines[0]


def test_an_application_that_keeps_to_itself_is_not_spoken_of(watched):
    web = """
        import asyncio, concurrent.futures, json, logging, os, sqlite3, ssl, threading, urllib.request
        from . import models
        lock = threading.Lock()
        pool = concurrent.futures.ThreadPoolExecutor(4)
        queue = asyncio.Queue()
        context = ssl.create_default_context()
        logging.getLogger("shop").addHandler(logging.FileHandler("shop.log"))
        entropy = open("/dev/urandom", "rb")
        with open("settings", "w") as file:
            file.write("x")
        settings = open("settings").read() if False else None
    """
    assert watched(modules={"shop.web": textwrap.dedent(web) + APP, "shop.models": "names = [1, 2]"}) == []
    assert watched.native == []


def test_a_thread_is_named_with_its_module_and_the_importer(watched):
    jobs = """
        import threading, time
        def run():
            threading.Event().wait()
        thread = threading.Thread(target=run, name="cleaner", daemon=True)
        thread.start()
    """
    line = only(watched(modules={"shop.web": "import shop.jobs\n" + APP, "shop.jobs": jobs}))
    assert line == f"shop.jobs (line 5, imported by shop.web) started the thread 'cleaner' at import; {NO_WORKER}"
    assert watched.native == []


def test_a_thread_that_has_ended_by_then_is_not_spoken_of(watched):
    web = "import threading\nt = threading.Thread(target=int)\nt.start()\nt.join()\n"
    assert watched(modules={"shop.web": web + APP}) == []


def test_the_threads_of_an_executor_are_told_of_once(watched):
    web = """
        import concurrent.futures, threading
        pool = concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="mail")
        gate = threading.Barrier(5)
        for _ in range(4):
            pool.submit(gate.wait)
        gate.wait()
    """
    line = only(watched(modules={"shop.web": textwrap.dedent(web) + APP}))
    assert line.startswith("shop.web (line 5) started 4 threads (mail_0, mail_1, mail_2, ...) at import; no worker ")


def test_a_queue_listener_of_logging(watched):
    web = """
        import logging, logging.handlers, queue
        records = queue.Queue()
        listener = logging.handlers.QueueListener(records, logging.StreamHandler())
        listener.start()
    """
    line = only(watched(modules={"shop.web": textwrap.dedent(web) + APP}))
    assert line.startswith("shop.web (line 4) started the thread 'Thread-1 (_monitor)' at import; ")


def test_a_timer(watched):
    web = "import threading\nthreading.Timer(1000, int).start()\n"
    assert "shop.web (line 2) started the thread 'Thread-1'" in only(watched(modules={"shop.web": web + APP}))


def test_a_connection_is_named_with_its_address(watched):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        db = f"import socket\nconnection = socket.create_connection(('127.0.0.1', {port}))\n"
        line = only(watched(modules={"shop.web": "import shop.db\n" + APP, "shop.db": db}))
    assert line == (
        f"shop.db (line 2, imported by shop.web) opened a connection to 127.0.0.1:{port} at import; {SHARED}"
    )


def test_a_call_into_another_module_is_that_modules_doing(watched):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        db = f"import socket\ndef connect():\n    return socket.create_connection(('127.0.0.1', {port}))\n"
        web = "from shop import db\nconnection = db.connect()\n"
        line = only(watched(modules={"shop.web": web + APP, "shop.db": db}))
    assert line.startswith("shop.db (line 3, called by shop.web) opened a connection to ")


def test_a_pool_of_connections_is_one_line(watched):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        web = f"import socket\npool = [socket.create_connection(('127.0.0.1', {port})) for _ in range(3)]\n"
        line = only(watched(modules={"shop.web": web + APP}))
    assert f"opened a connection to 127.0.0.1:{port}, 3 times, at import" in line


def test_a_connection_that_was_closed_again_is_not_spoken_of(watched):
    with socket.create_server(("127.0.0.1", 0)) as server:
        web = f"import socket\nsocket.create_connection(('127.0.0.1', {server.getsockname()[1]})).close()\n"
        assert watched(modules={"shop.web": web + APP}) == []


def test_a_library_that_does_it_while_it_is_imported(watched, tmp_path):
    library = "import threading\nthreading.Thread(target=threading.Event().wait, name='agent', daemon=True).start()\n"
    modules = {
        "shop.web": "import shop.monitoring\n" + APP,
        "shop.monitoring": "import agent\n",
        "lib.site-packages.agent.__init__": "import agent.core\n",
        "lib.site-packages.agent.core": library,
    }
    line = only(watched(modules=modules, path=[tmp_path / "lib" / "site-packages"]))
    assert line.startswith("agent.core (line 2, imported by shop.monitoring) started the thread 'agent'")


def test_a_library_that_is_called_is_the_callers_doing(watched, tmp_path):
    library = """
        import threading
        def start():
            threading.Thread(target=threading.Event().wait, name="agent", daemon=True).start()
    """
    modules = {"shop.web": "import agent\nagent.start()\n" + APP, "lib.site-packages.agent": library}
    line = only(watched(modules=modules, path=[tmp_path / "lib" / "site-packages"]))
    assert line.startswith("shop.web (line 2) started the thread 'agent'")


def test_what_a_factory_does(watched):
    web = """
        import socket, shop.db
        def create_app():
            shop.db.connect()
            return app
    """
    db = "import socket\ndef connect():\n    global pair\n    pair = socket.socketpair()\n"
    line = only(
        watched("shop.web:create_app", factory=True, modules={"shop.web": textwrap.dedent(web) + APP, "shop.db": db})
    )
    assert line == f"shop.db (line 4, called by shop.web) opened a pair of sockets at import; {SHARED}"


def test_a_listening_socket_and_datagrams(watched):
    web = """
        import logging.handlers, socket
        listener = socket.create_server(("127.0.0.1", 0))
        statistics = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        statistics.connect(("127.0.0.1", 8125))
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind("log")
        logging.getLogger().addHandler(logging.handlers.SysLogHandler("log"))
    """
    lines = watched(modules={"shop.web": textwrap.dedent(web) + APP})
    assert len(lines) == 3
    assert lines[0].startswith("shop.web (line 2) opened a socket that listens on 127.0.0.1:")
    assert (
        "(line 3) opened a datagram socket to 127.0.0.1:8125 at import; each worker would share it, and the" in lines[1]
    )
    assert "(line 5) opened a datagram socket at import" in lines[2]


def test_sqlite_is_named_as_such(watched, tmp_path):
    db = """
        import sqlite3
        connection = sqlite3.connect("shop.sqlite")
        connection.execute("create table things (name)")
        connection.execute("pragma journal_mode=wal")
        connection.execute("insert into things values ('x')")
        connection.commit()
    """
    line = only(watched(modules={"shop.web": "import shop.db\n" + APP, "shop.db": db}))
    path = tmp_path / "shop.sqlite"
    assert line == (
        f"shop.db (imported by shop.web) opened the SQLite database {path} at import; "
        f"SQLite connections do not survive a fork: open it {FIRST_USE}"
    )


def test_files_with_a_position(watched, tmp_path):
    web = "geo = open(__file__, 'rb')\nout = open('out', 'w')\nlog = open('log', 'a')\nboth = open('out', 'r+')\n"
    lines = watched(modules={"shop.web": web + APP})
    deeds = [line.partition(" at import")[0].removeprefix("shop.web opened ") for line in lines]
    assert deeds == [
        f"{tmp_path}/shop/web.py for reading",
        f"{tmp_path}/out for writing",
        f"{tmp_path}/out for reading and writing",
    ]


@pytest.mark.parametrize(
    "maker", ["asyncio.new_event_loop()", "uvloop.new_event_loop()", "asyncio.Runner().get_loop()"]
)
def test_an_event_loop(watched, maker):
    web = f"import asyncio, uvloop\nloop = {maker}\n"
    lines = watched(modules={"shop.web": web + APP})
    assert "made an event loop at import; each worker would share its descriptors: make it " in only(lines)
    assert lines[0].startswith("shop.web")


def test_a_loop_that_was_closed_again_is_not_spoken_of(watched):
    web = "import asyncio\nasyncio.run(asyncio.sleep(0))\n"
    assert watched(modules={"shop.web": web + APP}) == []


def test_a_selector_and_a_pipe(watched):
    web = "import os, selectors\nselector = selectors.DefaultSelector()\nends = os.pipe()\n"
    lines = watched(modules={"shop.web": web + APP})
    assert [line.partition(" at import")[0] for line in lines] == ["shop.web made a selector", "shop.web opened a pipe"]


def test_a_process(watched):
    web = (
        "import subprocess, sys\nhelper = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    )
    process, pipe = watched(modules={"shop.web": web + APP})
    name = os.path.basename(sys.executable)
    assert process.startswith(f"shop.web (line 2) started the process {name} (")
    assert "at import; it is no child of any worker: start it" in process
    assert "opened a pipe" in pipe


NATIVE = """
import ctypes
libc = ctypes.CDLL(None)
"""


def test_what_native_code_opens_is_charged_to_the_module_that_ran(watched):
    driver = NATIVE + "assert libc.socket(2, 1, 0) > 2\n"
    modules = {"shop.web": "import shop.first, shop.driver, shop.last\n" + APP, "shop.driver": driver}
    modules |= {"shop.first": "", "shop.last": ""}
    assert only(watched(modules=modules)).startswith("shop.driver (imported by shop.web) opened a socket at import; ")


def test_native_code_after_an_import_is_the_importers(watched):
    web = NATIVE + "import shop.first\nassert libc.socket(2, 1, 0) > 2\nimport shop.last\n"
    modules = {"shop.web": web + APP, "shop.first": "", "shop.last": ""}
    assert only(watched(modules=modules)).startswith("shop.web opened a socket at import; ")


def test_native_code_of_a_factory_is_charged_to_the_target(watched):
    web = NATIVE + "def create_app():\n    assert libc.socket(2, 1, 0) > 2\n    return app\n"
    line = only(watched("shop.web:create_app", factory=True, modules={"shop.web": web + APP}))
    assert line.startswith("shop.web:create_app opened a socket at import; ")


def test_native_threads(watched):
    driver = NATIVE + textwrap.dedent("""
        handle = ctypes.c_ulong()
        for _ in range(2):
            assert libc.pthread_create(ctypes.byref(handle), None, libc.pause, None) == 0
    """)
    assert watched(modules={"shop.web": "import shop.driver\n" + APP, "shop.driver": driver}) == []
    assert watched.native == [
        "shop.driver (imported by shop.web) started 2 threads in native code at import; "
        f"no worker would have them: do it {FIRST_USE}"
    ]


def test_an_import_that_fails_leaves_nothing_wrapped(watched):
    web = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nraise OSError('x')\n"
    lines = watched(modules={"shop.web": web})
    assert "importing it raised OSError: x" in watched.error
    assert "shop.web (line 2) started the thread" in only(lines)


def test_a_tool_that_wraps_the_same_call_keeps_its_wrapping(tmp_path):
    (tmp_path / "tool.py").write_text(
        textwrap.dedent("""
        import threading
        inner = threading.Thread.start
        seen = []
        def start(self):
            seen.append(self.name)
            inner(self)
        threading.Thread.start = start
        """)
        + APP
    )
    code = """
        import threading
        from trilithon.supervisor.import_watch import ImportWatch
        with ImportWatch() as watch:
            import tool
        thread = threading.Thread(target=print, args=("ran",), name="later")
        thread.start()
        thread.join()
        assert tool.seen == ["later"] and watch.threads == [], (tool.seen, watch.threads)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
