"""Workers forked from a template: one import, shared memory, reload of code, and the death of a template."""

import http.client
import os
import re
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest
from service import children, until
from upgrading import upgrade, wait_gone

pytestmark = pytest.mark.real

COUNTED = """
    import os
    os.write(2, b"imported %d\\n" % os.getpid())
    from pids import app, wsgi
"""


def family(service, count):
    """Wait until there are so many workers and return the template's process id and theirs."""
    (template,) = until(lambda: len(found := service.children()) == 1 and found, "the template alone")
    return template, until(lambda: len(found := children(template)) == count and found, f"{count} workers")


def answer(name, body):
    """Return the source of an application of both interfaces that answers what `body` gives."""
    return f"""
import os

def body():
    return str({body}).encode()

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({{"type": "http.response.start", "status": 200}})
        await send({{"type": "http.response.body", "body": body()}})

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [body()]
"""


@pytest.mark.parametrize("target", ["counted:app", "counted:wsgi"])
def test_the_application_is_imported_once(launch, write, target):
    write({"counted.py": COUNTED})
    service = launch(target, "--workers", "3", "--preload").started()
    template, workers = family(service, 3)
    assert re.findall(r"imported (\d+)", service.log) == [str(template)]
    assert {int(service.get()[1]) for _ in range(12)} <= set(workers)
    service.send(signal.SIGTTIN)
    family(service, 4)
    assert service.stop() == 0
    assert service.log.count("imported") == 1
    assert "ERROR" not in service.log
    assert not [pid for pid in (template, *workers) if os.path.exists(f"/proc/{pid}")]


def test_a_factory_and_mounts_are_called_once(launch, write):
    write({"made.py": "import os, pids\ndef make():\n    os.write(2, b'made\\n')\n    return pids.wsgi\n"})
    write({"counted.py": COUNTED})
    mount = ("--mount", "/counted=counted:app")
    service = launch("made:make", "--factory", *mount, "--workers", "2", "--preload").started()
    _, workers = family(service, 2)
    assert int(service.get("/")[1]) in workers
    assert int(service.get("/counted")[1]) in workers
    assert service.stop() == 0
    assert (service.log.count("made\n"), service.log.count("imported")) == (1, 1)


def memory(pid, *names):
    """Return figures of a process's memory, in MB, with what it shares counted in parts (Pss) or in full (Rss)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return [int(re.search(rf"^{name}: +(\d+) kB", text, re.M)[1]) / 1024 for name in names]


def test_workers_share_the_memory_of_what_was_imported(launch, write):
    # 100,000 lists of a string each: 50 MB of objects that the collector would look at, and so write to.
    large = "\ndata = [[str(number) * 80] for number in range(100_000)]\n"
    write({"large.py": answer("large", "os.getpid()") + large})
    service = launch("large:app", "--workers", "2", "--preload").started()
    _, workers = family(service, 2)
    for _ in range(20):
        service.get()
    for pid in workers:
        resident, proportional, own = memory(pid, "Rss", "Pss", "Private_Dirty")
        assert resident > 60
        assert proportional < 0.6 * resident, (proportional, resident)
        assert own < 20, own
    assert service.stop() == 0


def test_what_an_import_left_behind_is_told_of_once(launch, write):
    write(
        {
            "shop/__init__.py": "",
            "shop/jobs.py": "import threading\n"
            "threading.Thread(target=threading.Event().wait, name='cleaner', daemon=True).start()\n",
            "shop/web.py": "import shop.jobs\nfrom pids import app\n",
        }
    )
    service = launch("shop.web:app", "--workers", "2", "--preload").started()
    service.wait_for(
        r"WARNING preload: shop\.jobs \(line 2, imported by shop\.web\) started the thread 'cleaner' at import; "
        r"no worker would have it: start it in the lifespan start-up or on first use$"
    )
    assert service.get()[0] == 200
    assert service.stop() == 0
    assert service.log.count("WARNING") == 1


def test_a_reload_imports_the_code_anew(launch, write):
    service = launch("pids:wsgi", "--workers", "2", "--preload").started()
    template, workers = family(service, 2)
    write({"pids.py": answer("pids", "'new'")})
    service.send(signal.SIGHUP)
    service.after("INFO reloaded")
    new_template, new_workers = family(service, 2)
    assert new_template != template
    assert not set(new_workers) & set(workers)
    assert {service.get()[1] for _ in range(4)} == {"new"}
    assert service.stop() == 0
    assert "ERROR" not in service.log


NO_START = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


@pytest.mark.parametrize(
    ("code", "fault"), [("import nothing_here\n", "nothing_here"), (NO_START, "no database"), ("+", "SyntaxError")]
)
def test_a_reload_of_broken_code_leaves_the_old_code_in_place(launch, write, code, fault):
    service = launch("pids:app", "--workers", "2", "--preload").started()
    template, workers = family(service, 2)
    write({"pids.py": code})
    service.send(signal.SIGHUP)
    service.after(rf"not reloaded, the workers that were there go on: (?s:.*){fault}")
    assert family(service, 2) == (template, workers)
    # A worker that is lost now comes from the template that has the old code, whatever stands in the file.
    os.kill(workers[0], signal.SIGKILL)
    service.after(rf"pid {workers[0]}\) ended by SIGKILL")
    now = until(lambda: workers[0] not in (found := children(template)) and len(found) == 2 and found, "a new worker")
    until(lambda: int(service.get()[1]) == max(set(now) - set(workers)), "an answer of the new worker")
    assert service.stop() == 0


def test_a_reload_during_the_import_of_another_takes_the_later_code(launch, write, tmp_path):
    service = launch("pids:app", "--workers", "1", "--preload").started()
    os.mkfifo(tmp_path / "gate")
    write({"pids.py": "import os\nos.write(2, b'waiting\\n')\nopen('gate').read()\n"})
    service.send(signal.SIGHUP)
    service.wait_for("waiting")
    assert service.get()[0] == 200
    write({"pids.py": answer("pids", "'later'")})
    service.send(signal.SIGHUP)
    service.after("INFO reloaded")
    family(service, 1)
    assert service.get()[1] == "later"
    assert service.stop() == 0


def test_a_reload_that_begins_before_another_has_ended(launch, write, tmp_path):
    service = launch("pids:app", "--workers", "1", "--preload").started()
    os.mkfifo(tmp_path / "start")
    os.mkfifo(tmp_path / "import")
    slow = """
        async def app(scope, receive, send):
            await receive()
            open("start").read()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
    """
    write({"pids.py": slow})
    service.send(signal.SIGHUP)
    until(lambda: len(service.children()) == 2, "a second template")
    start = (tmp_path / "start").open("w")  # opens once the worker of the second generation waits
    write({"pids.py": "open('import').read()\n" + answer("pids", "'third'")})
    service.send(signal.SIGHUP)
    waiting = (tmp_path / "import").open("w")
    start.close()
    service.wait_for("INFO reloaded", 1)
    waiting.close()
    service.wait_for("INFO reloaded", 2)
    family(service, 1)
    assert service.get()[1] == "third"
    assert service.stop() == 0


def test_workers_go_on_without_their_template_and_another_one_is_made(launch, write):
    write({"counted.py": COUNTED})
    service = launch("counted:app", "--workers", "2", "--preload").started()
    template, workers = family(service, 2)
    os.kill(template, signal.SIGKILL)
    # The supervisor adopts them, and so hears of their end.
    assert until(lambda: (found := service.children()) == workers and found, "the adoption") == workers
    assert int(service.get()[1]) in workers
    os.kill(workers[0], signal.SIGKILL)
    service.after(rf"pid {workers[0]}\) ended by SIGKILL")
    service.after("the process that workers are forked from is gone; the application is imported again")
    (new_template,) = until(lambda: set(service.children()) - {workers[1]}, "another template")
    (new_worker,) = until(lambda: children(new_template), "another worker")
    until(lambda: int(service.get()[1]) == new_worker, "an answer of the new worker")
    assert len(re.findall(r"^imported \d+", service.log, re.M)) == 2
    assert service.stop() == 0


def stop(pid):
    """Stop a process, and wait until it is."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: re.search(r"^State:\s+T", Path(f"/proc/{pid}/status").read_text(), re.M), f"process {pid} to stop")


def test_a_template_hears_of_no_signal_that_goes_to_every_process(launch):
    service = launch("pids:app", "--workers", "1", "--preload").started()
    template, (worker,) = family(service, 1)
    # All in one moment: each interrupts the handler of the one before.
    stop(template)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        os.kill(template, number)
    os.kill(template, signal.SIGCONT)
    os.kill(worker, signal.SIGKILL)
    service.after(rf"pid {worker}\) ended by SIGKILL")
    until(lambda: children(template) not in ([], [worker]), "another worker of the same template")
    assert service.children() == [template]
    assert service.stop() == 0


def test_a_template_that_is_stopped_holds_up_nothing_else(launch):
    service = launch("pids:app", "--workers", "1", "--preload").started()
    template, (worker,) = family(service, 1)
    stop(template)
    service.send(signal.SIGTTIN)
    stopped = rf"cannot start a worker: the process that workers are forked from \(pid {template}\) is stopped; trying"
    service.after(stopped)
    before = time.monotonic()
    service.send(signal.SIGTTOU)
    service.after("1 worker is wanted")
    service.send(signal.SIGTTIN)
    service.after(stopped)
    assert time.monotonic() - before < 5
    os.kill(template, signal.SIGCONT)
    workers = until(lambda: len(found := children(template)) == 2 and found, "the second worker")
    assert worker in workers
    assert service.children() == [template]
    stop(template)
    service.send(signal.SIGTTIN)
    service.after(stopped)
    assert service.stop() == 0
    wait_gone(template, *workers)


def test_the_end_of_a_worker_is_seen_though_its_template_is_stopped(launch):
    service = launch("pids:app", "--workers", "2", "--preload").started()
    template, workers = family(service, 2)
    stop(template)
    os.kill(workers[0], signal.SIGKILL)
    service.after(rf"pid {workers[0]}\) ended by SIGKILL; another one starts")
    until(lambda: int(service.get()[1]) not in workers, "an answer of another worker")
    assert service.stop() == 0
    wait_gone(template, *workers)


def test_a_template_that_is_stopped_while_it_is_asked_is_replaced_soon(launch, write):
    # It is stopped in the middle of its next fork.
    stops = """
import os, signal
first = []
def hold():
    if first:
        os.kill(os.getpid(), signal.SIGSTOP)
    first.append(1)
os.register_at_fork(before=hold)
"""
    write({"stops.py": stops + answer("stops", "os.getpid()")})
    service = launch("stops:app", "--workers", "1", "--preload").started()
    before = time.monotonic()
    service.send(signal.SIGTTIN)
    service.after("the process that workers are forked from does not answer; trying again in")
    assert time.monotonic() - before < 5
    until(lambda: service.get()[0] == 200, "an answer")
    assert service.stop() == 0


def test_all_end_with_a_supervisor_that_is_killed(launch):
    service = launch("pids:app", "--workers", "2", "--preload").started()
    template, workers = family(service, 2)
    service.send(signal.SIGKILL)
    service.end()
    until(lambda: not [pid for pid in (template, *workers) if os.path.exists(f"/proc/{pid}")], "the end of all")


def test_a_template_that_imports_ends_with_its_supervisor(launch, write, tmp_path):
    os.mkfifo(tmp_path / "gate")
    write({"slow.py": "import os\nos.write(2, b'waiting\\n')\nopen('gate').read()\n"})
    service = launch("slow:app", "--preload")
    service.wait_for("waiting")
    service.send(signal.SIGKILL)
    service.end()


def test_randomness_differs_from_worker_to_worker(launch, write):
    write({"dice.py": "import random, ssl, uuid, tempfile\n" + answer("dice", DRAW)})
    service = launch("dice:wsgi", "--workers", "3", "--preload").started()
    seen = {}
    until(lambda: seen.update([service.get()[1].split(" ", 1)]) or len(seen) == 3, "answers of all workers")
    draws = [word for draw in seen.values() for word in draw.split()]
    assert len(set(draws)) == len(draws)
    assert service.stop() == 0


DRAW = """' '.join(map(str, [os.getpid(), random.random(), ssl.RAND_bytes(8).hex(), uuid.uuid4(), next(
    tempfile._get_candidate_names())]))"""


def test_what_the_application_asks_for_at_the_end_is_done_by_each_worker(launch, write):
    code = """
        import atexit, os, signal
        atexit.register(lambda: os.write(2, b"farewell of %d\\n" % os.getpid()))
        signal.signal(signal.SIGVTALRM, lambda number, frame: os.write(2, b"alarm of %d\\n" % os.getpid()))
        from pids import app
    """
    write({"polite.py": code})
    service = launch("polite:app", "--workers", "2", "--preload").started()
    _, workers = family(service, 2)
    os.kill(workers[0], signal.SIGVTALRM)
    service.wait_for(f"alarm of {workers[0]}")
    assert service.stop() == 0
    assert sorted(int(pid) for pid in re.findall(r"farewell of (\d+)", service.log)) == workers


def test_processes_of_the_application_are_its_own_to_wait_for(launch, write):
    code = """
        import subprocess, sys
        helper = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
        assert helper.wait() == 3
        lasting = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        from pids import app
    """
    write({"helped.py": code})
    service = launch("helped:app", "--workers", "1", "--preload").started()
    service.wait_for(r"preload: helped \(line 5\) started the process .* it is no child of any worker")
    service.wait_for(r"preload: helped opened a pipe at import; each worker would share it")
    assert service.get()[0] == 200
    assert service.stop() == 0


@pytest.mark.parametrize("way", [(), ("--preload",)])
def test_a_tls_session_goes_on_with_another_worker(launch, way):
    service = launch("pids:wsgi", "--workers", "2", "--self-signed", *way).started()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    certificates = set()

    def visit(session):
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        plain = socket.create_connection(("127.0.0.1", service.port), 20)
        connection.sock = context.wrap_socket(plain, session=session)
        connection.request("GET", "/")
        pid = connection.getresponse().read()
        certificates.add(connection.sock.getpeercert(True))
        try:
            return pid, connection.sock.session, connection.sock.session_reused
        finally:
            connection.close()

    first, session, _ = visit(None)
    other, _, was_resumed = until(lambda: (found := visit(session))[0] != first and found, "the other worker")
    assert other != first
    assert was_resumed
    assert len(certificates) == 1
    assert service.stop() == 0


def test_a_process_that_is_no_child_of_the_template_is_not_taken_for_a_worker(launch, write):
    """Workers are signalled with the supervisor's rights, and the template has run foreign code by then."""
    lying = """
        import os
        fork = os.fork
        os.fork = lambda: fork() and %d
        from pids import app
    """
    write({"lying.py": lying % os.getpid()})
    service = launch("lying:app", "--workers", "1", "--preload")
    service.wait_for("cannot start a worker: the process that workers are forked from named one that is not its child")
    assert service.stop() == 0


def test_the_way_back_from_an_upgrade_leads_to_the_old_code(launch, write):
    write({"pids.py": answer("pids", "'old'")})
    service = launch("pids:app", "--workers", "2", "--preload", "--idle-grace", "0").started()
    template, _ = family(service, 2)
    write({"pids.py": answer("pids", "'new'")})
    successor = upgrade(service)
    until(lambda: not children(template), "the end of the old workers")
    assert service.get()[1] == "new"
    service.send(signal.SIGHUP)
    service.wait_for("INFO rolled back")
    wait_gone(successor)
    assert len(children(template)) == 2
    assert service.get()[1] == "old"
    assert service.stop() == 0
