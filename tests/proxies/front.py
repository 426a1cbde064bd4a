"""Starting nginx and HAProxy on free ports, as the current user, with all that they write in one directory."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_S = 10.0

NGINX = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
{modules}
events {{ worker_connections 128; }}
{block} {{
{temporary}
{text}
}}
"""
TEMPORARY = "\n".join(
    f"{kind}_temp_path {{directory}}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
# Without `noreuseport` it would share a taken port with whoever shares it too, and get a part of its connections.
HAPROXY = """\
global
    maxconn 256
    noreuseport

defaults
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 30s

{text}
"""


def program(name: str) -> str:
    """Return where a server is installed; Debian keeps them where only root looks."""
    found = shutil.which(
        name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    )
    assert found is not None, f"{name} is not installed"
    return found


def nginx_modules(block: str) -> str:
    """Return the directive that loads the module for a block, where it is a separate file."""
    if block == "http":
        return ""
    build = subprocess.run([program("nginx"), "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-stream=dynamic" not in build:
        return ""
    path = re.search(r"--modules-path=(\S+)", build)
    assert path is not None
    return f"load_module {path[1]}/ngx_stream_module.so;"


@contextmanager
def nginx(directory: Path, block: str, text: str, ports: list[int]) -> Iterator[None]:
    """Run nginx with `text` in the block `http` or `stream` until the end of the block; it listens on `ports`."""
    path = directory / "nginx.conf"
    temporary = TEMPORARY.format(directory=directory) + "\naccess_log off;" if block == "http" else ""
    modules = nginx_modules(block)
    path.write_text(
        NGINX.format(directory=directory, modules=modules, block=block, temporary=temporary, text=text),
        encoding="utf-8",
    )
    with running(
        [program("nginx"), "-p", str(directory), "-e", f"{directory}/error.log", "-c", str(path)], directory, ports
    ):
        yield


@contextmanager
def haproxy(directory: Path, text: str, ports: list[int]) -> Iterator[None]:
    """Run HAProxy with frontends and backends until the end of the block; it listens on `ports`."""
    path = directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(text=text), encoding="utf-8")
    with running([program("haproxy"), "-db", "-f", str(path)], directory, ports):
        yield


@contextmanager
def running(command: list[str], directory: Path, ports: list[int]) -> Iterator[None]:
    """Run a proxy in the foreground, wait until it listens, and end it."""
    for port in ports:
        assert not listens(port), f"somebody else listens on port {port}"
    log = directory / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory)
    try:
        for port in ports:
            await_port(port, process, log)
        yield
        assert process.poll() is None, f"it ended by itself: {log.read_text()}"
    finally:
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until somebody listens on a port, or the process that should has ended."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if listens(port):
            return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"{process.args!r} ended: {log.read_text()}")
    raise AssertionError(f"nobody listens on port {port}: {log.read_text()}")


def listens(port: int) -> bool:
    """Tell whether somebody takes connections to a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
