"""Crashes in C: what they show, and the signals that must not be one."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform != "linux", reason="of Linux's signal stacks")]

# All that can have a handler, except those of a crash and the one that takes back others: they are held back and come
# at once, each in the other's handler.
ALL_AT_ONCE = """
import os, signal, sys
from trilithon.worker.crashes import show_crashes

def storm():
    crashes = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT)
    numbers = set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, *crashes}
    came = []
    for number in numbers:
        signal.signal(number, lambda number, frame: came.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    for number in numbers:
        os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    assert sorted(came) == sorted(numbers), came
    print(len(came), "came", flush=True)

show_crashes()
"""


def run(body, *options):
    """Run code behind the storm's definition, in a process of its own; returns its exit code and what it wrote."""
    command = [sys.executable, *options, "-c", ALL_AT_ONCE + textwrap.dedent(body)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("options", [[], ["-X", "faulthandler"]], ids=["ours", "the user's"])
def test_signals_that_come_all_at_once_end_nothing(options):
    code, told, faults = run("storm()\nshow_crashes()\nstorm()", *options)
    assert (code, told.count("came"), faults) == (0, 2, "")


def test_signals_that_come_all_at_once_end_no_forked_process_either():
    code, told, faults = run("pid = os.fork()\nstorm()\nif pid: assert os.waitpid(pid, 0)[1] == 0")
    assert (code, told.count("came"), faults) == (0, 2, "")


def test_a_crash_at_the_end_of_the_interpreter_shows_itself():
    code, _, faults = run("""
        import builtins, faulthandler

        class Late:
            def __del__(self, crash=faulthandler._sigsegv):
                crash()

        builtins.late = Late()
    """)
    assert code == -11
    assert "Fatal Python error: Segmentation fault" in faults


@pytest.mark.parametrize("way", ["", "if os.fork(): os._exit(-os.waitstatus_to_exitcode(os.wait()[1]))\n"])
def test_a_stack_overflow_in_c_shows_where_it_was(way):
    code, _, faults = run(way + "import faulthandler\nfaulthandler._stack_overflow()")
    assert abs(code) == 11
    assert "Fatal Python error: Segmentation fault" in faults
    assert 'File "<string>", line' in faults
