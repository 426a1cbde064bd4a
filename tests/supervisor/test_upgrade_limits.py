"""What an upgrade does with a program that neither serves nor ends, and with what is handed on."""

import os
import signal
import sys
import threading

import pytest

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.supervisor import upgrade
from trilithon.supervisor.control import RefusedCommand
from trilithon.supervisor.heritage import VARIABLE, Origin, command_line, inherit
from trilithon.supervisor.premises import Premises
from trilithon.supervisor.reactor import Reactor
from trilithon.supervisor.upgrade import Phase, Upgrade

pytestmark = [pytest.mark.real, pytest.mark.once]


class Keeper:
    """A supervisor that only upgrades, and reaps what ended."""

    def __init__(self):
        self.reactor = Reactor()
        self.options = Options.of({"graceful_timeout_s": 0.0})
        self.premises = Premises()
        self.control = None
        self.is_stopping = False
        self.outcomes = []
        self.upgrade = Upgrade(self, Origin.now())

    def refusal(self):
        return ""

    def scaled(self):
        return 1, 1

    def service_variables(self):
        return {}

    def no_way_back(self):
        pass

    def look(self):
        """Reap the new program, and end the test when it has ended."""
        pid, status = os.waitpid(self.upgrade.pid, os.WNOHANG)
        if pid:
            self.upgrade.child_ended(pid, os.waitstatus_to_exitcode(status))
            self.reactor.stop()
        else:
            self.reactor.later(0.01, self.look)

    def run(self, code):
        """Upgrade to a program of Python `code` and return how that went."""
        self.upgrade.origin.command = [sys.executable, "-c", code]
        self.upgrade.begin(self.outcomes.append)
        self.reactor.later(0, self.look)
        deadline = threading.Timer(40, signal.pthread_kill, [threading.get_ident(), signal.SIGABRT])
        deadline.start()
        try:
            self.reactor.run()
        finally:
            deadline.cancel()
            self.reactor.close()
        (outcome,) = self.outcomes
        return outcome


def test_a_program_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(upgrade, "START_LIMIT_S", 0.2)
    keeper = Keeper()
    assert keeper.run("import signal; signal.pause()") == "the new program did not serve within 0.2 s"
    assert keeper.upgrade.phase is Phase.NONE


def test_a_program_that_does_not_care_is_killed(monkeypatch):
    monkeypatch.setattr(upgrade, "START_LIMIT_S", 0.2)
    monkeypatch.setattr(upgrade, "KILL_S", 0.2)
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
    assert Keeper().run(code) == "the new program did not serve within 0.2 s"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit(3)", "with exit code 3 (the application cannot be found, imported or recognised)"),
        ("raise SystemExit(77)", "with exit code 77"),
        ("raise SystemExit(0)", "with exit code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "by SIGKILL"),
    ],
)
def test_the_end_of_a_program_is_told_in_words(code, reason):
    assert Keeper().run(code) == f"the new program ended {reason}"


def test_a_command_that_is_gone_is_told_at_once(tmp_path):
    keeper = Keeper()
    keeper.upgrade.origin.command = [str(tmp_path / "gone")]
    with pytest.raises(RefusedCommand, match="gone: No such file"):
        keeper.upgrade.begin(keeper.outcomes.append)
    assert keeper.upgrade.phase is Phase.NONE
    assert keeper.outcomes == []
    keeper.reactor.close()


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", '{"pid": 1, "channel": 9999, "places": [], "control": null}'])
def test_a_variable_that_came_from_elsewhere_is_refused(text):
    environ = {VARIABLE: text, "PATH": "/bin"}
    with pytest.raises(ConfigError, match="unset it"):
        inherit(environ)
    assert environ == {"PATH": "/bin"}


def test_without_the_variable_there_is_nothing_to_inherit():
    assert inherit({"PATH": "/bin"}) is None


def test_the_name_of_the_variable_is_no_option():
    assert not VARIABLE.startswith("TRILITHON_")


def test_the_command_line_of_modules_and_code_stays_as_it_is(monkeypatch, tmp_path):
    for words in (["python", "-m", "trilithon", "a:b"], ["python", "-c", "pass"], ["python"]):
        monkeypatch.setattr(sys, "orig_argv", words)
        assert command_line() == words
    monkeypatch.setattr(sys, "orig_argv", [])
    monkeypatch.setattr(sys, "argv", ["trilithon", "a:b", "-w", "2"])
    assert command_line() == [sys.executable, "-m", "trilithon", "a:b", "-w", "2"]


def test_only_a_script_that_named_its_interpreter_is_run_itself(monkeypatch, tmp_path):
    script = tmp_path / "trilithon"
    for head, mode, is_run in (
        ("#!/opt/python\n", 0o755, True),
        ("#!/bin/sh\n'''exec' /opt/python \"$0\" \"$@\"\n' '''\n", 0o755, True),
        ("#!/usr/bin/env python\n", 0o755, False),
        ("#!/opt/python\n", 0o644, False),
        ("import sys\n", 0o755, False),
    ):
        script.write_text(head)
        script.chmod(mode)
        monkeypatch.setattr(sys, "orig_argv", ["/opt/python", str(script), "a:b"])
        assert command_line() == ([str(script), "a:b"] if is_run else ["/opt/python", str(script), "a:b"])
