"""What workers hold open: nothing that is the supervisor's alone, nothing of other workers but their mailboxes."""

import os
import re
import signal
from pathlib import Path

import pytest
from service import WAYS, children, until

pytestmark = [pytest.mark.real, pytest.mark.once]


def held(pid):
    """Return what a process holds open above standard error, by descriptor: what the kernel calls it."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        if int(name) > 2:
            try:
                found[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
            except FileNotFoundError:
                continue  # closed between the two looks
    return found


def listening():
    """Return the inodes of all TCP sockets that are listened on."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {f"socket:[{row.split()[9]}]" for row in rows if row.split()[3] == "0A"}


def mailboxes():
    """Return the inodes of all Unix sockets of packets, which is what mailboxes are."""
    rows = Path("/proc/net/unix").read_text().splitlines()[1:]
    return {f"socket:[{row.split()[6]}]" for row in rows if row.split()[4] == "0005"}


def parties(service, way, count=2):
    """Return the process ids of the template, if there is one, and of the workers."""
    if way != "preload":
        return [], until(lambda: len(found := service.children()) == count and found, "the workers")
    (template,) = until(lambda: len(found := service.children()) == 1 and found, "the template alone")
    return [template], until(lambda: len(found := children(template)) == count and found, "the workers")


def replaced(service, templates, victim):
    """Kill a worker and return the process id of the one that answers in its place."""
    parent = templates[0] if templates else service.pid
    others = {pid for pid in children(parent) if pid != victim}
    os.kill(victim, signal.SIGKILL)
    (successor,) = until(lambda: set(children(parent)) - others - {victim}, "another worker")
    until(lambda: int(service.get()[1]) == successor, "its answer")
    return successor


@pytest.fixture(params=list(WAYS))
def way(request):
    """The name of one way in which workers come to be."""
    return request.param


def test_workers_share_sockets_to_listen_on_and_nothing_else(launch, way):
    extras = ("--control-socket", "control", "--pid-file", "pid")
    service = launch("pids:app", "--workers", "2", *extras, *WAYS[way]).started()
    templates, workers = parties(service, way)
    # Each knows the other's mailbox by now, or will: that is not what is looked for.
    may_be_shared = listening() | mailboxes()
    supervisors = {each for each in held(service.pid).values() if not each.startswith("/memfd:trilithon-scoreboard")}
    assert {each for each in supervisors if each.startswith("socket:")} & listening()
    for pid in templates + workers:
        others = supervisors | {
            each for other in (*templates, *workers) if other != pid for each in held(other).values()
        }
        shared = {
            each for each in held(pid).values() if each in others and not each.startswith(("/memfd:", "anon_inode"))
        }
        assert shared <= may_be_shared, (pid, shared - may_be_shared, held(pid))
    assert service.stop() == 0


def test_a_worker_holds_what_it_needs_and_no_more(launch, way):
    service = launch("pids:app", "--workers", "1", "--loop", "asyncio", *WAYS[way]).started()
    _, (worker,) = parties(service, way, 1)
    fds = held(worker)
    kinds = sorted(re.sub(r"\d+", "N", each) for each in fds.values())
    assert len(listening() & set(fds.values())) == 1
    assert len(mailboxes() & set(fds.values())) == 1
    # These two, channel and lifeline, and three pairs that wake: the loop's, that of signals, the interpreter's own.
    assert kinds.count("socket:[N]") <= 10, fds
    # The loop's and the engine's.
    assert kinds.count("anon_inode:[eventpoll]") == 2, fds
    assert not [each for each in kinds if each.startswith("pipe:")], fds
    assert service.stop() == 0


def test_templates_hold_no_socket_that_is_listened_on(launch):
    service = launch("pids:app", "--workers", "1", "--preload").started()
    (template,), _ = parties(service, "preload", 1)
    assert not listening() & set(held(template).values())
    assert service.stop() == 0


def test_nothing_is_left_open_by_workers_that_have_ended(launch, way):
    service = launch("pids:app", "--workers", "2", *WAYS[way]).started()
    templates, (victim, survivor) = parties(service, way)
    before = [len(held(pid)) for pid in (service.pid, *templates)]
    kept = len(held(survivor))
    for _ in range(2):
        victim = replaced(service, templates, victim)
    until(lambda: [len(held(pid)) for pid in (service.pid, *templates)] == before, "as many descriptors as before")
    until(lambda: len(held(survivor)) <= kept + 2, "no more of the survivor than before")
    service.send(signal.SIGHUP)
    service.after("INFO reloaded")
    until(lambda: survivor not in parties(service, way)[1], "the end of the old workers")
    until(lambda: len(held(service.pid)) == before[0], "as many descriptors as before")
    assert service.stop() == 0


INHERITED = """
    import os, signal, subprocess, sys

    def wsgi(environ, start_response):
        code = "import os, signal as s; print(sorted(os.listdir('/proc/self/fd')), +s.getsignal(1), +s.getsignal(15))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, close_fds=False)
        start_response("200 OK", [])
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        return [done.stdout.encode(), str(sorted(blocked)).encode()]
"""


def test_programs_that_the_application_starts_inherit_nothing(launch, write, way):
    write({"inherited.py": INHERITED})
    service = launch("inherited:wsgi", "--workers", "2", *WAYS[way]).started()
    told = service.get()[1]
    # Standard input, output and error, and the descriptor that lists the directory; signals end it as ever.
    assert told == "['0', '1', '2', '3'] 0 0\n[]"
    assert service.stop() == 0
