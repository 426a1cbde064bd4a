"""A start that fails ends everything: with its reason once, the exit code of the fault, and no further attempts."""

import os
import re
import signal

import pytest
from service import WAYS, until

pytestmark = [pytest.mark.real, pytest.mark.once]

BROKEN = """
    def app(environ, start_response):
        start_response("200 OK", [])
        return []
    settings = {}
    print(settings["DATABASE"])
"""
NO_DATABASE = """
    async def app(scope, receive, send):
        assert scope["type"] == "lifespan"
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "the database does not answer"})
"""
RAISES = """
    async def app(scope, receive, send):
        await receive()
        raise OSError("the queue does not answer")
"""
FRAMEWORK = """
    import asyncio
    import os
    import traceback

    async def app(scope, receive, send):
        await receive()
        try:
            if "HANG" in os.environ:
                os.write(2, b"starting up\\n")
                await asyncio.get_running_loop().create_future()
            raise OSError("the cache does not answer")
        except BaseException:
            await send({"type": "lifespan.startup.failed", "message": traceback.format_exc()})
            raise
"""
LEAVES = """
    import os
    os._exit(7)
"""
LINGERS = """
    import threading
    threading.Thread(target=threading.Event().wait).start()
    raise OSError("too late")
"""


@pytest.fixture(params=list(WAYS))
def way(request):
    """The arguments for one way in which workers come to be."""
    return WAYS[request.param]


def failed(service):
    """Wait for the end of a start that fails; returns the exit code and what was written, logged lines left out."""
    code = service.end()
    assert "respawn" not in service.log
    assert not service.children()
    return code, "\n".join(line for line in service.log.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line))


def test_an_import_that_raises(launch, write, way):
    write({"site_module.py": BROKEN})
    code, told = failed(launch("site_module:app", "--workers", "3", *way))
    assert code == 3
    assert told.count("KeyError: 'DATABASE'") == 2, told  # the traceback's own, and the message's
    assert told.count("Traceback") == 1
    assert told.count("importing it raised KeyError") == 1
    assert 'print(settings["DATABASE"])' in told
    assert "/trilithon/" not in told


def test_a_module_that_is_not_there(launch):
    code, told = failed(launch("nothing_here:app", "--workers", "3"))
    assert code == 3
    assert told.startswith("trilithon: application = 'nothing_here:app': there is no module 'nothing_here' in ")
    assert told.count("\n") == 0


def test_a_lifespan_that_fails(launch, write, way):
    write({"site_module.py": NO_DATABASE})
    code, told = failed(launch("site_module:app", "--workers", "3", *way))
    assert code == 5
    assert told == "trilithon: the application's start-up failed: the database does not answer"


def test_a_lifespan_that_raises_where_it_must_not(launch, write):
    write({"site_module.py": RAISES})
    code, told = failed(launch("site_module:app", "--workers", "2", "--lifespan", "on"))
    assert code == 5
    assert told.count("the application's start-up failed") == 1
    assert "the queue does not answer" in told


@pytest.mark.parametrize(("code", "flags"), [(FRAMEWORK, []), (RAISES, ["--lifespan", "on"])], ids=["told", "raised"])
def test_the_traceback_of_a_lifespan_is_printed_once(launch, write, code, flags):
    write({"site_module.py": code})
    service = launch("site_module:app", "--workers", "3", *flags)
    assert service.end() == 5
    assert service.log.count("Traceback") == 1
    assert len(re.findall(r"^OSError: the \w+ does not answer$", service.log, re.M)) == 1
    assert "ERROR" not in service.log
    assert "/trilithon/" not in service.log


def test_a_lifespan_that_takes_its_time_can_be_stopped(launch, write, way):
    write({"site_module.py": FRAMEWORK})
    service = launch("site_module:app", "--workers", "2", *way, HANG="1")
    service.wait_for("starting up", 2)
    assert service.stop() == 0
    assert service.log.count("INFO stopped during the start-up") == 2
    assert "ERROR" not in service.log
    assert "Traceback" not in service.log


@pytest.mark.parametrize("arguments", [(), ("--preload",)])
def test_a_certificate_that_is_not_there(launch, arguments):
    tls = ("--certfile", "none.pem", "--keyfile", "none.key")
    code, told = failed(launch("pids:app", "--workers", "2", *tls, *arguments))
    assert code == 2
    assert told.startswith("trilithon: certfile = ")
    assert told.count("\n") == 0


def test_an_import_that_ends_the_process(launch, write, way):
    write({"site_module.py": LEAVES})
    code, told = failed(launch("site_module:app", "--workers", "2", *way))
    assert code == 1
    assert len(re.findall("ended with exit code 7", told)) == 1, told


def test_a_crash_in_c_shows_where_it_was(launch, write, way):
    write({"crashes.py": "import ctypes\nctypes.string_at(0)\n"})
    # One alone: two that crash at once write into each other's lines.
    service = launch("crashes:app", "--workers", "1", *way)
    assert service.end() == 1
    assert "ended by SIGSEGV" in service.log
    assert "Fatal Python error: Segmentation fault" in service.log
    assert 'crashes.py", line 2' in service.log


def test_a_failed_import_whose_threads_go_on(launch, write, way):
    write({"site_module.py": LINGERS})
    service = launch("site_module:app", "--workers", "2", *way)
    code, told = failed(service)
    assert code == 3
    assert told.count("importing it raised OSError: too late") == 1
    assert "is killed" not in service.log


def test_an_import_that_takes_its_time_can_be_stopped(launch, write, tmp_path, way):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    write({"site_module.py": "import os\nos.write(2, b'importing\\n')\nopen('gate').read()\n"})
    service = launch("site_module:app", "--workers", "1", *way)
    service.wait_for("importing")
    assert service.stop() == 0
    assert "serves" not in service.log


def test_a_worker_that_cannot_start_later_ends_nothing(launch, write, tmp_path):
    code = (tmp_path / "pids.py").read_text()
    service = launch("pids:app", "--workers", "2").started()
    victim, other = until(lambda: len(found := service.children()) == 2 and found, "two workers")
    write({"pids.py": BROKEN})
    os.kill(victim, signal.SIGKILL)
    service.after(rf"pid {victim}\) ended by SIGKILL; another one starts in 0\.5 s")
    service.after(r"ended with exit code 3; another one starts in 1 s: (?s:.*)KeyError")
    assert int(service.get()[1]) == other
    write({"pids.py": code})
    until(lambda: len(service.children()) == 2 and int(service.get()[1]) != other, "a worker that serves again")
    assert service.stop() == 0
