"""Make what a run needs and keep it for the next: environments, load generators, C programs, a certificate."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.process import end

ROOT = Path(__file__).resolve().parent.parent
PEERS_FILE = ROOT / "benchmarks" / "peers.txt"
SOURCES = ("src", "setup.py", "pyproject.toml", "README.md", "LICENSE")
APPLICATION_PACKAGES = ("fastapi", "flask", "httpx", "python-multipart", "uvloop")
INSTALL_TIMEOUT_S = 600
CERTIFICATE_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"
PROGRAMS = {"wrk": "wrk", "h2load": "nghttp2-client", "nghttp": "nghttp2-client", "openssl": "openssl"}
"""What makes load and certificates, and the Debian packages that hold it."""

Say = Callable[[str], None]


class EnvironmentFault(Exception):
    """Something is missing without which nothing can be measured; the message says what to type."""


@dataclass
class Environment:
    """Where the programs of a run are, the versions installed, and why what is missing is missing."""

    peers_bin: Path
    own_bin: Path
    own_path: Path | None
    floor: Path
    pace: Path
    sockets: Path
    programs: dict[str, str]
    certificate: Path
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def call(command: list[str], *, path: Path | None = None) -> tuple[int, str]:
    """Run a preparing command and return its exit code and output."""
    surroundings = {**os.environ, "PYTHONPATH": str(path or "")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=surroundings)
    try:
        printed, _ = process.communicate(timeout=INSTALL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return 1, f"error: not done after {INSTALL_TIMEOUT_S} s"
    finally:
        if process.poll() is None:
            end(process)
    return process.returncode, printed.decode(errors="replace")


def last_line(text: str) -> str:
    """Return the last line that says something, without paths of this machine."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "no output")
    return said.replace(str(ROOT), "").replace(str(Path.home()), "")[:200]


def install_system_package(name: str, say: Say) -> bool:
    """Install a Debian package when that is possible here; tell whether it was."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    say(f"installing {name} with apt-get")
    code, _ = call(["apt-get", "install", "-y", "-q", name])
    if code != 0:
        call(["apt-get", "update", "-q"])
        code, _ = call(["apt-get", "install", "-y", "-q", name])
    return code == 0


def find_programs(packages: dict[str, str], say: Say) -> dict[str, str]:
    """Return the path of each command in `packages` (command to Debian package), installing what is missing."""
    for package in sorted({package for command, package in packages.items() if shutil.which(command) is None}):
        install_system_package(package, say)
    found = {command: path for command in packages if (path := shutil.which(command))}
    missing = [command for command in packages if command not in found]
    if missing:
        line = f"apt-get install {' '.join(sorted({packages[command] for command in missing}))}"
        raise EnvironmentFault(
            f"missing: {', '.join(missing)}; install what has it (Debian: {line}) and run this again"
        )
    return found


def build(source: Path, target: Path) -> Path:
    """Compile one C program unless it is newer than its source."""
    if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
        return target
    compiler = os.environ.get("CC") or "cc"
    if shutil.which(compiler) is None:
        raise EnvironmentFault("a C compiler is missing: install one (Debian: apt-get install build-essential)")
    code, output = call([compiler, "-O2", "-Wall", "-o", str(target), str(source)])
    if code != 0:
        raise EnvironmentFault(f"{source.name} does not compile: {last_line(output)}")
    return target


def make_certificate(openssl: str, directory: Path) -> Path:
    """Write a self-signed ECDSA P-256 certificate and, beside it, its key as PKCS #8; return the certificate's path."""
    certificate = directory / "server.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    code, output = call([*command, "-days", "30", "-subj", "/CN=localhost", "-addext", CERTIFICATE_NAMES])
    if code != 0:
        raise EnvironmentFault(f"no certificate can be made: {last_line(output)}")
    return certificate


def make_venv(place: Path) -> Path:
    """Create a virtual environment of the running Python unless it is there; return its directory of programs."""
    programs = place / "bin"
    if not (programs / "python").exists():
        venv.create(place, with_pip=True, symlinks=True)
    return programs


def pip_install(programs: Path, *words: str) -> tuple[int, str]:
    """Install with the pip of an environment."""
    return call([str(programs / "python"), "-m", "pip", "install", "--disable-pip-version-check", "-q", *words])


def digest(paths: Iterable[Path]) -> str:
    """Return a mark of the running Python and of the content of files and directories."""
    mark = hashlib.sha256(sys.version.encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in {".py", ".pxd", ".pyx", ".toml", ".txt"} and file.is_file():
                mark.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return mark.hexdigest()


def prepare_peers(place: Path, say: Say) -> tuple[Path, dict[str, str]]:
    """Install the peers; return their programs, and the reason by name of each that cannot be installed."""
    stamp = place / "installed.json"
    mark = digest([PEERS_FILE])
    if stamp.exists() and (kept := json.loads(stamp.read_text()))["mark"] == mark:
        return place / "bin", kept["missing"]
    say("installing the peers (some minutes the first time)")
    programs = make_venv(place)
    if not Path("/usr/include/ev.h").exists():
        install_system_package("libev-dev", say)
    wanted = [line for line in PEERS_FILE.read_text().splitlines() if line and not line.startswith("#")]
    missing = {}
    if pip_install(programs, "-r", str(PEERS_FILE))[0] != 0:
        for requirement in wanted:
            code, output = pip_install(programs, requirement)
            if code != 0:
                missing[requirement.partition(">=")[0]] = f"cannot be installed: {last_line(output)}"
    stamp.write_text(json.dumps({"mark": mark, "missing": missing}))
    return programs, missing


def prepare_own(place: Path, peers_bin: Path, built: Path | None, say: Say) -> tuple[Path, str | None]:
    """Install trilithon and the applications in the versions the peers use; return the programs and what failed."""
    stamp = place / "installed.json"
    peers = digest([PEERS_FILE])
    mark = f"built {peers}" if built else peers + digest(ROOT / name for name in SOURCES)
    if stamp.exists() and json.loads(stamp.read_text())["mark"] == mark:
        return place / "bin", None
    say("installing trilithon")
    programs = make_venv(place)
    constraints = place / "constraints.txt"
    constraints.write_text(call([str(peers_bin / "python"), "-m", "pip", "freeze"])[1])
    wanted = [*APPLICATION_PACKAGES, "-c", str(constraints)]
    if built is None:
        # Built from a copy: an in-place build would leave its own directories in the source tree.
        copy = place / "source"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        built_files = shutil.ignore_patterns("*.so", "*.c", "__pycache__", "*.egg-info")
        for path in (ROOT / name for name in SOURCES):
            if path.is_dir():
                shutil.copytree(path, copy / path.name, ignore=built_files)
            elif path.exists():
                shutil.copy2(path, copy / path.name)
        call([str(programs / "python"), "-m", "pip", "uninstall", "-y", "-q", "trilithon"])
        wanted.append(str(copy))
    else:
        wanted.append("click>=8.1")
    code, output = pip_install(programs, *wanted)
    if code != 0:
        return programs, f"cannot be installed: {last_line(output)}"
    stamp.write_text(json.dumps({"mark": mark}))
    return programs, None


def installed_versions(programs: Path) -> dict[str, str]:
    """List the versions of what is installed, by lower-case name."""
    code, output = call([str(programs / "python"), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
    if code != 0:
        return {}
    # Warnings of pip share the stream with its answer.
    listed = next((line for line in output.splitlines() if line.startswith("[")), "[]")
    return {package["name"].lower(): package["version"] for package in json.loads(listed)}


def prepare(place: Path, built: Path | None, say: Say) -> Environment:
    """Make everything a run needs; `built` is a source directory to measure as it is, instead of an installed copy."""
    place.mkdir(parents=True, exist_ok=True)
    programs = find_programs(PROGRAMS, say)
    floor = build(ROOT / "benchmarks" / "floor.c", place / "floor")
    pace = build(ROOT / "benchmarks" / "pace.c", place / "pace")
    for floor_of_another in ("socket_floor", "http2_floor"):
        build(ROOT / "benchmarks" / f"{floor_of_another}.c", place / floor_of_another)
    sockets = build(ROOT / "benchmarks" / "sockets.c", place / "sockets")
    certificate = make_certificate(programs["openssl"], place)
    peers_bin, missing = prepare_peers(place / "peers", say)
    own_bin, reason = prepare_own(place / ("own" if built is None else "own-built"), peers_bin, built, say)
    if reason:
        missing["trilithon"] = reason
    environment = Environment(peers_bin, own_bin, built, floor, pace, sockets, programs, certificate)
    environment.versions, environment.missing = installed_versions(peers_bin), missing
    code, output = call([str(own_bin / "python"), "-m", "trilithon", "--version"], path=built)
    lines = output.strip().splitlines()
    version = lines[-1].removeprefix("trilithon ") if code == 0 and lines else "unknown"
    if "compiled" not in version:
        say(f"this trilithon is not compiled: {version}")
    environment.versions["trilithon"] = version
    return environment
