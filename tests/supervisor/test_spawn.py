"""Workers as interpreters of their own: what they inherit, what cannot be given to them, how they serve."""

import json
import os
import signal
import subprocess
import sys

import pytest
from service import SOURCE, environment, until

pytestmark = pytest.mark.real

SPAWN = ("--start-method", "spawn")
MIRROR = """
    import json, os, sys

    def wsgi(environ, start_response):
        seen = {
            "pid": os.getpid(), "path": sys.path, "cwd": os.getcwd(), "argv": sys.argv, "variable": os.environ["SITE"],
            "warnings": sys.warnoptions, "dev": sys.flags.dev_mode, "optimize": sys.flags.optimize,
            "name": __name__, "umask": os.umask(0o077),
        }
        os.umask(seen["umask"])
        start_response("200 OK", [])
        return [json.dumps(seen).encode()]
"""


@pytest.mark.parametrize("target", ["pids:app", "pids:wsgi"])
def test_workers_serve(launch, target):
    service = launch(target, "--workers", "2", *SPAWN).started()
    workers = until(lambda: len(found := service.children()) == 2 and found, "two workers")
    for pid in workers:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            assert b"/spawned.py\0" in file.read()
    seen = set()
    until(lambda: seen.add(int(service.get()[1])) or seen == set(workers), "answers of both")
    assert service.stop() == 0
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
    assert "ERROR" not in service.log


def test_a_reload_and_a_loss(launch, write):
    service = launch("pids:app", "--workers", "1", *SPAWN).started()
    (first,) = until(service.children, "a worker")
    write({"pids2.py": "from pids import app\n", "pids.py": MIRROR.replace("def wsgi", "def app")})
    service.send(signal.SIGHUP)
    service.after("INFO reloaded")
    (second,) = until(lambda: len(found := service.children()) == 1 and found != [first] and found, "its successor")
    os.kill(second, signal.SIGKILL)
    service.after(rf"pid {second}\) ended by SIGKILL")
    until(lambda: [pid for pid in service.children() if pid != second], "another worker")
    assert service.stop() == 0


def test_an_interpreter_like_the_first_one(launch, write, tmp_path):
    write({"sub/mirror.py": MIRROR})
    command = [sys.executable, "-W", "error::ResourceWarning", "-X", "dev", "-O", "-m", "trilithon"]
    arguments = ["mirror:wsgi", "-w", "1", *SPAWN, "--app-dir", "sub", "--umask", "027", "-b", "127.0.0.1:0"]
    service = launch(*arguments, command=command, SITE="of the test").started()
    seen = json.loads(service.get()[1])
    assert [seen["pid"]] == service.children()
    assert seen["cwd"] == str(tmp_path)
    assert seen["path"][0] == str(tmp_path / "sub")
    assert seen["argv"][1:] == arguments
    assert seen["variable"] == "of the test"
    assert "error::ResourceWarning" in seen["warnings"]
    assert (seen["dev"], seen["optimize"], seen["name"], seen["umask"]) == (True, 1, "mirror", 0o027)
    assert service.stop() == 0


OBJECT = """
    import sys
    sys.path[:0] = sys.argv[2:]
    from trilithon.foundation.options import Options
    from trilithon.supervisor.supervising import serve

    def app(environ, start_response):
        start_response("200 OK", [])
        return []

    if __name__ == "__main__":
        options = Options.of({"workers": 2, "start_method": "spawn", "bind": ["127.0.0.1:0"]})
        sys.exit(serve(app if sys.argv[1] == "object" else "own:app", options, {}))
"""


def test_a_module_path_that_the_program_has_made(launch, write, tmp_path):
    write({"own.py": OBJECT})
    service = launch(command=[sys.executable, "own.py", "target", str(SOURCE), str(tmp_path)], PYTHONPATH="").started()
    assert service.get()[0] == 200
    assert service.stop() == 0


def test_an_object_cannot_be_given_to_a_new_interpreter(tmp_path, write):
    write({"own.py": OBJECT})
    done = subprocess.run(
        [sys.executable, "own.py", "object"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "trilithon: start_method = 'spawn': an application that is an object cannot be given to a new interpreter; "
        "name it as module:attr, or choose fork\n"
    )
