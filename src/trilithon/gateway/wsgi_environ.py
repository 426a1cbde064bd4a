"""The environ of a WSGI call (PEP 3333, environ Variables; RFC 3875)."""

import sys
from typing import Any, TextIO

from trilithon.gateway.wsgi_file import FileWrapper
from trilithon.wire.exchange import Exchange
from trilithon.wire.fields import KNOWN, cgi_key
from trilithon.wire.target import decode_path


class ErrorStream:
    """`wsgi.errors`: text for the server's standard error, whatever characters it holds."""

    def write(self, text: str) -> int:
        """Write text; what the stream's encoding lacks is escaped, a closed or full stream is borne."""
        stream: TextIO = sys.stderr
        try:
            stream.write(text)
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
        except (OSError, ValueError):
            pass  # nowhere left to report it
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several pieces of text."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is buffered."""
        try:
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nowhere left to report it


def base_environ(multithread: bool) -> dict[str, Any]:
    """Return what every environ of a gateway begins with."""
    return {
        "REQUEST_METHOD": "",
        "SCRIPT_NAME": "",
        "PATH_INFO": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "",
        "SERVER_PORT": "",
        "SERVER_PROTOCOL": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "wsgi.errors": ErrorStream(),
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "wsgi.file_wrapper": FileWrapper,
    }


def fill_environ(environ: dict[str, Any], exchange: Exchange) -> None:
    """Set what depends on the request."""
    head = exchange.head
    peer = exchange.peer
    path = head.path
    if b"%" in path:
        path = decode_path(path)
    info = path.decode("latin-1")
    if exchange.root_path:
        info = split_root(environ, exchange.root_path, info)
    environ["PATH_INFO"] = "" if info == "*" else info
    environ["REQUEST_METHOD"] = head.method
    environ["QUERY_STRING"] = head.query.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/" + head.version
    if peer.secure:
        environ["wsgi.url_scheme"] = "https"
        environ["HTTPS"] = "on"
    server = peer.server
    if server[1] is None:
        # A Unix socket has neither name nor port, and PEP 3333 wants both.
        environ["SERVER_NAME"] = "localhost"
        environ["SERVER_PORT"] = "80"
    else:
        environ["SERVER_NAME"] = server[0]
        environ["SERVER_PORT"] = str(server[1])
    client = peer.client
    if client is not None:
        environ["REMOTE_ADDR"] = client[0]
        environ["REMOTE_PORT"] = str(client[1])
    for name, value in head.fields:
        known = KNOWN.get(name)
        key = known.key if known is not None else cgi_key(name)
        if not key:
            continue
        text = value.decode("latin-1")
        if key in environ:
            text = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + text
        environ[key] = text


def split_root(environ: dict[str, Any], root_path: str, info: str) -> str:
    """Set SCRIPT_NAME and return PATH_INFO of a path that may begin with the root path or have lost it on its way."""
    root = root_path.encode("utf-8").decode("latin-1")
    environ["SCRIPT_NAME"] = root
    if info.startswith(root) and info[len(root) : len(root) + 1] in ("", "/"):
        return info[len(root) :]
    return info
