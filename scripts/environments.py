"""Make and reuse the virtual environments of the scripts, from nothing but Python, pip and git."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"
SOURCES = ("src", "setup.py", "pyproject.toml", "README.md", "LICENSE")

NOT_COMPILED = "trilithon: not compiled ("

# What a Python tells about itself; the last two decide whether it can make an environment and compile for it.
PROBE = """
import importlib.util, json, os, sys, sysconfig
print(json.dumps([sys.executable, list(sys.version_info[:3]),
    sys.implementation.name == "cpython" and sys.version_info[3] == "final"
        and not sysconfig.get_config_var("Py_GIL_DISABLED"),
    importlib.util.find_spec("ensurepip") is not None,
    os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))]))
"""


class Problem(Exception):
    """Something the person at the keyboard has to put right; its text says what."""


@dataclass(frozen=True)
class Python:
    """A CPython that really runs here."""

    executable: str
    version: tuple[int, int, int]
    has_pip: bool
    has_headers: bool

    def __str__(self) -> str:
        """Name it as `CPython 3.11.7`."""
        return "CPython " + ".".join(map(str, self.version))


def find_pythons() -> list[Python]:
    """Return every released CPython of at least 3.11 that runs, one per minor version, oldest first."""
    found: dict[tuple[int, int], Python] = {}
    for candidate in candidates():
        python = probe(candidate)
        if python is None:
            continue
        known = found.get(python.version[:2])
        if known is None or (python.has_pip, python.has_headers) > (known.has_pip, known.has_headers):
            found[python.version[:2]] = python
    return [found[key] for key in sorted(found)]


def candidates() -> Iterator[str]:
    """Yield the paths that may be a Python: this one, those on PATH and those that pyenv keeps beside it."""
    yield sys.executable
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        for name in ["python3", *(f"python3.{minor}" for minor in range(11, 30))]:
            path = Path(directory) / name
            if directory and path.exists():
                yield str(path)
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(str(path) for path in versions.glob("3.*/bin/python3"))


def probe(path: str) -> Python | None:
    """Ask the Python at `path` what it is; None when it does not run (a pyenv shim, for one) or is not of use."""
    try:
        command = [path, "-I", "-c", PROBE]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, env=clean_environ())
        executable, version, released, has_pip, has_headers = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if not released or version < [3, 11]:
        return None
    return Python(executable, tuple(version), has_pip, has_headers)


def clean_environ(**extra: str) -> dict[str, str]:
    """Return the environment without the variables that would let another Python's modules in."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra}


def project() -> dict:
    """Return the parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(*extras: str) -> list[str]:
    """Return what the project and the named extras need, and what building it needs."""
    table = project()
    optional = table["project"]["optional-dependencies"]
    wanted = [*table["build-system"]["requires"], "wheel", *table["project"]["dependencies"]]
    return [*wanted, *(name for extra in extras for name in optional[extra])]


class Environment:
    """A virtual environment at `directory`; hold `alone(environment.name)` while you use it.

    What makes one that `yields` leaves the processors to others that want them.
    """

    def __init__(self, directory: Path, python: Python, yields: bool = False) -> None:
        self.directory = directory
        self.name = directory.name.strip(".")
        self.python = python
        self.prefix = ["nice"] if yields else []
        self.executable = str(directory / "bin" / "python")
        self.stamp_path = directory / "trilithon-stamp.json"
        self.log = CACHE / "logs" / f"{self.name}.log"

    def prepare(self, needs: list[str]) -> None:
        """Make the environment where there is none and install `needs`; does nothing when that was done before."""
        identity = [self.python.executable, list(self.python.version)]
        stamp = self.stamp()
        if stamp.get("python") != identity:
            shutil.rmtree(self.directory, ignore_errors=True)
            say(f"making {self.directory.relative_to(ROOT)} with {self.python}")
            self.create()
            stamp = {"python": identity}
        if stamp.get("needs") != needs:
            say(f"installing {len(needs)} requirements")
            self.pip("install", "--upgrade", *needs)
            self.write_stamp({**stamp, "needs": needs})

    def lay_over(self, below: "Environment") -> None:
        """Make the environment where there is none, with all that `below` holds behind what is installed into it."""
        identity = [self.python.executable, list(self.python.version), str(below.directory)]
        if self.stamp().get("python") == identity and self.site().exists():
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self.run([self.python.executable, "-m", "venv", "--without-pip", str(self.directory)])
        (self.site() / "below.pth").write_text(f"{below.site()}\n", encoding="utf-8")
        for command in (below.directory / "bin").iterdir():
            link = self.directory / "bin" / command.name
            if not link.exists():
                link.symlink_to(command)
        self.write_stamp({"python": identity})

    def site(self) -> Path:
        """Return the directory that packages are installed into."""
        return self.directory / "lib" / f"python{self.python.version[0]}.{self.python.version[1]}" / "site-packages"

    def create(self) -> None:
        """Make the bare environment; a Python without `ensurepip` (Debian's) lends its own pip."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if self.python.has_pip:
            self.run([self.python.executable, "-m", "venv", str(self.directory)])
            return
        self.run([self.python.executable, "-m", "venv", "--without-pip", str(self.directory)])
        self.run([self.python.executable, "-m", "pip", "--python", self.executable, "install", "pip"])

    def install_project(self, pure: bool = False, insist: bool = False) -> None:
        """Install the project as the sources are now; nothing happens when they are as they were last time.

        It is built from a copy that all environments share, so that the source tree stays clean, every module is
        translated to C once and only what changed is compiled again. Without a compiler the pure build is installed,
        unless `insist` is set: then a build that is not what `pure` asks for raises Problem.
        """
        digest = source_digest() + (" pure" if pure else " compiled")
        if self.stamp().get("sources") == digest:
            return
        say(f"installing trilithon ({'pure Python' if pure else 'compiling it'})")
        copy = CACHE / "build"
        variables = {"TRILITHON_PURE": "1"} if pure else {"TRILITHON_PURE": ""}
        with alone("build"):
            copy_sources(copy)
            self.pip("install", "-v", "--no-deps", "--no-build-isolation", "--force-reinstall", str(copy), **variables)
        if insist and self.compiled() == pure:
            raise Problem(f"{self.why_pure()}\nthe wrong build came out; the whole log is {self.log.relative_to(ROOT)}")
        self.write_stamp({**self.stamp(), "sources": digest})

    def compiled(self) -> bool:
        """Ask the installed package whether it is the compiled build."""
        code = "from trilithon.foundation import leaf; print(leaf.COMPILED)"
        command = [self.executable, "-I", "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.strip() == "True"

    def why_pure(self) -> str:
        """Return the line of the last build that says why nothing was compiled; empty for the compiled build."""
        if self.compiled():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        said = [line[line.index(NOT_COMPILED) :] for line in lines if NOT_COMPILED in line]
        return said[-1] if said else "trilithon: this is the pure Python build, which is slower"

    def pip(self, *arguments: str, **variables: str) -> None:
        """Run this environment's pip."""
        self.run([self.executable, "-m", "pip", *arguments], **variables)

    def run(self, command: list[str], **variables: str) -> None:
        """Run `command` with its output in the log; on failure show the end of it and raise Problem."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            environ = clean_environ(**variables)
            done = subprocess.run([*self.prefix, *command], stdout=log, stderr=log, cwd=ROOT, env=environ, check=False)
        if done.returncode:
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
            raise Problem(f"{tail}\n\nthis failed: {' '.join(command)}\nthe whole log is {self.log.relative_to(ROOT)}")

    def stamp(self) -> dict:
        """Return what was done to this environment, empty when it is not there."""
        try:
            return json.loads(self.stamp_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write_stamp(self, stamp: dict) -> None:
        """Record what was done to this environment."""
        self.stamp_path.write_text(json.dumps(stamp), encoding="utf-8")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep other runs of the scripts away from what `name` stands for until the block ends."""
    directory = CACHE / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another run of these scripts that uses {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def source_files() -> list[Path]:
    """Return every file that the installed package depends on."""
    files: list[Path] = []
    for name in SOURCES:
        path = ROOT / name
        files += sorted(path.rglob("*")) if path.is_dir() else [path]
    return [path for path in files if path.is_file() and path.suffix not in (".pyc", ".so", ".c")]


def source_digest() -> str:
    """Return a digest of the names and contents of all sources."""
    digest = hashlib.sha256()
    for path in source_files():
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def copy_sources(target: Path) -> None:
    """Make `target` a copy of the sources; unchanged files keep their time, a vanished one voids the old build."""
    wanted = {path.relative_to(ROOT): path for path in source_files()}
    present = {path.relative_to(target) for path in (target / "src").rglob("*") if path.is_file()}
    strays = {path for path in present if path not in wanted and not path.parts[1].endswith(".egg-info")}
    if strays:
        shutil.rmtree(target)
    for name, path in wanted.items():
        copy = target / name
        if copy.exists() and copy.read_bytes() == path.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())


def need_commands(packages: dict[str, str]) -> None:
    """See that every command in `packages` (command to Debian package) is there; install what is missing when root.

    Raises Problem with the words to type when that is not possible.
    """
    missing = missing_packages(packages)
    if not missing:
        return
    line = f"apt-get install -y {' '.join(missing)}"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say(line)
        subprocess.run(["apt-get", "update", "-q"], stdout=subprocess.DEVNULL, check=False)
        # The run level keeps packages of servers from starting them.
        variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        subprocess.run(line.split(), stdout=subprocess.DEVNULL, env=variables, check=False)
    still = missing_packages(packages)
    if still:
        raise Problem(f"please install {', '.join(still)} first, on Debian or Ubuntu: sudo {line}")


def missing_packages(packages: dict[str, str]) -> list[str]:
    """Return the packages of the commands that are not there; servers are kept where only root looks."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    return sorted({package for command, package in packages.items() if not shutil.which(command, path=path)})


def say(text: str) -> None:
    """Tell the person at the keyboard what is going on."""
    print(f"-- {text}", flush=True)
