"""The environ of a WSGI call (PEP 3333, environ Variables; RFC 3875)."""

import sys
from typing import Any, TextIO

from trilithon.gateway.wsgi_file import FileWrapper
from trilithon.wire.exchange import Exchange, Peer, TlsFacts


class ErrorStream:
    """`wsgi.errors`: text for the server's standard error, whatever characters it holds."""

    def write(self, text: str) -> int:
        """Write text; what the stream's encoding lacks is escaped, a closed or full stream is borne."""
        stream: TextIO | None = sys.stderr
        if stream is None:
            return len(text)
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
            if sys.stderr is not None:
                sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nowhere left to report it


def base_environ(multithread: bool) -> dict[str, Any]:
    """Return what every environ of a gateway begins with."""
    environ: dict[str, Any] = {
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
    # A copy of a dict has the room of its original: made larger here once, no copy has to grow for its fields.
    for number in range(6):
        environ[f"room for {number}"] = None
    for number in range(6):
        del environ[f"room for {number}"]
    return environ


def fill_environ(environ: dict[str, Any], exchange: Exchange) -> None:
    """Set what depends on the request."""
    head = exchange.head
    start = head.start
    info = start.octets
    if exchange.root_path:
        info = split_root(environ, exchange.root_path, exchange.mounted_at, info)
    environ["PATH_INFO"] = "" if info == "*" else info
    environ["REQUEST_METHOD"] = start.method
    query = start.query
    if query:
        environ["QUERY_STRING"] = query.decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if start.version == "1.1" else "HTTP/" + start.version
    peer = exchange.peer
    names = peer.names
    if names is None:
        names = peer.names = cgi_names(peer)
    environ["SERVER_NAME"] = names[0]
    environ["SERVER_PORT"] = names[1]
    if len(names) > 2:
        environ["REMOTE_ADDR"] = names[2]
        environ["REMOTE_PORT"] = names[3]
    if peer.secure:
        environ["wsgi.url_scheme"] = "https"
        environ["HTTPS"] = "on"
        tls = peer.tls
        if tls is not None:
            environ.update(tls.variables or tls_variables(tls))
    for line in head.lines:
        key = line.key
        if key:
            if key in environ:
                environ[key] = environ[key] + ("; " if key == "HTTP_COOKIE" else ",") + line.text()
            else:
                environ[key] = line.text()


def tls_variables(facts: TlsFacts) -> dict[str, str]:
    """Return what the environ tells of TLS, under the names of Apache's mod_ssl; what does not apply is left out."""
    variables = {"SSL_CLIENT_VERIFY": "NONE"}
    if facts.version_name is not None:
        variables["SSL_PROTOCOL"] = facts.version_name
    if facts.cipher_name is not None:
        variables["SSL_CIPHER"] = facts.cipher_name
    if facts.server_name is not None:
        variables["SSL_TLS_SNI"] = facts.server_name
    if facts.client_chain:
        error = facts.client_error
        variables["SSL_CLIENT_VERIFY"] = "SUCCESS" if error is None else f"FAILED:{error}"
        variables["SSL_CLIENT_CERT"] = facts.client_chain[0]
        variables["SSL_CLIENT_S_DN"] = as_octets(facts.client_name or "")
    facts.variables = variables
    return variables


def cgi_names(peer: Peer) -> tuple[str, ...]:
    """Return SERVER_NAME, SERVER_PORT and, where the client is known, REMOTE_ADDR and REMOTE_PORT."""
    host, port = peer.server
    # A Unix socket has neither name nor port, and PEP 3333 wants both.
    server = ("localhost", "80") if port is None else (host, str(port))
    return server if peer.client is None else (*server, peer.client[0], str(peer.client[1]))


def split_root(environ: dict[str, Any], root_path: str, prefix: str, info: str) -> str:
    """Set SCRIPT_NAME and return PATH_INFO of a path that may begin with the root path or have lost it on its way.

    `prefix` is the part of the root path that a mount adds: no proxy has taken that off.
    """
    root = as_octets(root_path)
    environ["SCRIPT_NAME"] = root
    if is_below(info, root):
        return info[len(root) :]
    mount = as_octets(prefix)
    return info[len(mount) :] if mount and is_below(info, mount) else info


def as_octets(path: str) -> str:
    """Return a path as its UTF-8 octets, read as latin-1 (PEP 3333, Unicode Issues)."""
    return path.encode("utf-8").decode("latin-1")


def is_below(info: str, root: str) -> bool:
    """Tell whether a path begins with another one at a segment boundary."""
    return info.startswith(root) and info[len(root) : len(root) + 1] in ("", "/")
