"""A control socket on a reactor of its own, before commands that a test plays."""

import json
import socket
import threading
from contextlib import contextmanager

from trilithon.supervisor.control import ControlSocket, RefusedCommand
from trilithon.supervisor.reactor import Reactor

PATIENCE_S = 20.0


class PlayedCommands:
    """What a supervisor would do, noted; lengthy commands end when the test says so."""

    def __init__(self):
        self.calls = []
        self.pending = []
        self.called = threading.Condition()
        self.answer = {"supervisor": {"pid": 7, "version": "9", "state": "serving"}, "workers": []}

    def note(self, *call):
        with self.called:
            self.calls.append(call)
            self.called.notify_all()

    def wait_for(self, *call):
        with self.called:
            assert self.called.wait_for(lambda: call in self.calls, PATIENCE_S), self.calls

    def status(self):
        self.note("status")
        return self.answer

    def reload(self, done):
        self.pending.append(done)
        self.note("reload")

    def upgrade(self, done):
        self.note("upgrade")
        raise RefusedCommand("an upgrade is under way")

    def rollback(self, done):
        self.note("rollback")
        done("")

    def stop(self, quick):
        self.note("stop", quick)

    def scale(self, change, absolute):
        self.note("scale", change, absolute)
        return change if absolute else 4 + change

    def reopen(self):
        self.note("reopen")
        raise ZeroDivisionError("a fault on purpose")


class Stage:
    """A control socket in service: its path, its commands, its reactor."""

    def __init__(self, path, listener=None):
        self.path = str(path)
        self.reactor = Reactor()
        self.commands = PlayedCommands()
        self.control = ControlSocket(self.path, self.reactor, self.commands, listener)
        self.control.attend()

    def call(self, function):
        """Run `function` on the reactor's thread and return what it gives."""
        results = []
        done = threading.Event()

        def run():
            try:
                results.append(function())
            finally:
                done.set()

        here, there = socket.socketpair()
        with here, there:

            def ring():
                self.reactor.remove(there)
                run()

            # The reactor is no thread's but its own; a descriptor wakes it.
            self.reactor.selector.register(there, 1, ring)
            here.send(b"!")
            assert done.wait(PATIENCE_S)
        return results[0]

    def connect(self):
        """Return a connection of a client."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_S)
        sock.connect(self.path)
        return sock


@contextmanager
def staged(path, listener=None):
    """Serve a control socket at `path` while the block runs, on a listener of its own unless one is given."""
    stage = Stage(path, listener)
    thread = threading.Thread(target=stage.reactor.run)
    thread.start()
    try:
        yield stage
    finally:
        stage.call(stage.reactor.stop)
        thread.join()
        stage.control.close()
        stage.reactor.close()


def ask(sock, request):
    """Send a request, a dict or raw bytes, and return the answer, None when there is none."""
    sock.sendall(request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n")
    return answer(sock)


def answer(sock):
    """Return the next answer of a connection, None at its end; blank lines mean nothing."""
    data = b""
    while not data.strip() or not data.endswith(b"\n"):
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return None
        if not more:
            return None
        data += more
    return json.loads(data)
