"""Run the test files in batches, each in a pytest of its own, several at a time, and gather what they say.

A pytest that collects a part of the files starts in half a second. A process that takes tests from a common list has to
collect every one of them first, which takes each ten seconds here.
"""

import os
import re
import signal
import subprocess
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import environments

FILES_PER_BATCH = 12
# What mostly waits takes longest, and comes first, for nothing else is left to run beside it at the end.
LONGEST = Path("tests/supervisor")
COUNT = re.compile(r"(\d+) (failed|error|passed|skipped|xfailed|xpassed|warning)s?\b")
SUMMARY = re.compile(r"^=*\s*(\d+ [a-z]+.*|no tests ran) in [0-9.]+s")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# A file that says this of all its tests need not be read where they are left out.
ONCE = re.compile(r"^pytestmark = .*\bmark\.once\b", re.MULTILINE)
NOTED = ("SKIPPED", "XFAIL", "XPASS")

# Pytest's exit codes; where it does not take its arguments, it will not take them for other files either.
NO_TESTS = 5
USAGE_ERROR = 4


class Batch(NamedTuple):
    """A few test files of one directory."""

    name: str
    files: list[str]


def batches(paths: list[str], with_once: bool) -> list[Batch]:
    """Divide the test files; their directories alternate, so that tests that wait run beside those that compute."""
    if any("::" in path or (environments.ROOT / path).is_file() for path in paths):
        return [Batch(" ".join(paths), paths)]
    directories: dict[Path, list[str]] = {}
    for path in sorted(each for name in paths or ["tests"] for each in (environments.ROOT / name).rglob("test_*.py")):
        if with_once or not ONCE.search(path.read_text(encoding="utf-8")):
            relative = path.relative_to(environments.ROOT)
            directories.setdefault(relative.parent, []).append(str(relative))
    parts = [(part, *each) for each in directories.items() for part in range(-(-len(each[1]) // FILES_PER_BATCH))]
    parts.sort(key=lambda each: (each[1] != LONGEST, *each))
    return [Batch(*named(directory, part, files)) for part, directory, files in parts]


def named(directory: Path, part: int, files: list[str]) -> tuple[str, list[str]]:
    """Return the name and the files of one part of a directory; neighbours, which are often alike, are kept apart."""
    count = -(-len(files) // FILES_PER_BATCH)
    name = str(directory) if count == 1 else f"{directory} {part + 1}/{count}"
    return name, files[part::count]


class Outcome:
    """What came of the tests of one build."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.codes: set[int] = set()
        self.processor_s = 0.0

    @property
    def is_good(self) -> bool:
        """Tell whether there were tests and all passed."""
        return 0 in self.codes and self.codes <= {0, NO_TESTS}

    def __str__(self) -> str:
        """Say it as pytest does."""
        return ", ".join(f"{count} {word}" for word, count in sorted(self.counts.items())) or "no tests ran"


class Pool:
    """Runs batches, so many at a time; every thread may call all of it."""

    def __init__(self, processes: int) -> None:
        self.executor = ThreadPoolExecutor(processes)
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen[str]] = set()
        self.is_stopped = False

    def submit(self, title: str, command: list[str], variables: dict[str, str], outcome: Outcome) -> Future[None]:
        """Run `command` when there is room and count its tests in `outcome`; `title` names it where it is printed."""
        return self.executor.submit(self.run, title, command, variables, outcome)

    def run(self, title: str, command: list[str], variables: dict[str, str], outcome: Outcome) -> None:
        """Run one batch, and print a line of it, or everything that it said where a test failed."""
        with self.lock:
            if self.is_stopped:
                return
            process = subprocess.Popen(
                command,
                cwd=environments.ROOT,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self.running.add(process)
        with process.stdout as stream:
            said = stream.read()
        plain = COLOURS.sub("", said).splitlines()
        summary = next((line.strip("= ") for line in reversed(plain) if SUMMARY.match(line)), "no closing line")
        with self.lock:
            _, status, used = os.wait4(process.pid, 0)
            code = process.returncode = os.waitstatus_to_exitcode(status)
            self.running.remove(process)
            if self.is_stopped:
                return
            processor_s = used.ru_utime + used.ru_stime
            outcome.codes.add(code)
            outcome.processor_s += processor_s
            outcome.counts.update({word: int(count) for count, word in COUNT.findall(summary)})
            if code not in (0, NO_TESTS):
                print(said, end="")
            if code != NO_TESTS:
                noted = [line for line in plain if line.startswith(NOTED)]
                print(f"{title}: {summary}, {processor_s:.0f} s of processor time", *noted, sep="\n", flush=True)
        if code == USAGE_ERROR or (code not in (0, NO_TESTS) and {"-x", "--exitfirst"} & set(command)):
            self.stop()

    def stop(self, tell: bool = True) -> None:
        """Start no pytest any more, and end those that run as Ctrl-C does, unless somebody else has told them."""
        with self.lock:
            self.is_stopped = True
            for process in self.running if tell else ():
                process.send_signal(signal.SIGINT)


def split(rest: list[str]) -> tuple[list[str], list[str]]:
    """Return the options and the paths among pytest's arguments."""
    paths = [each for each in rest if is_path(each)]
    return [each for each in rest if each not in paths], paths


def is_path(word: str) -> bool:
    """Tell whether an argument names tests by their place."""
    return word.split("/")[0] == "tests" and (environments.ROOT / word.partition("::")[0]).exists()
