"""What a client can ask for on a running TLS connection, with OpenSSL's own command line as the client."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.tls import MAX_CHATTER, TlsChannel, TlsError

from .tls_authority import Authority

pytestmark = pytest.mark.real

WAIT_S = 10.0


class Talk:
    """One `openssl s_client` at the other end of a channel; a line `R` renegotiates, `K` asks for new keys."""

    def __init__(self, store: TlsStore, version: str) -> None:
        self.channel = TlsChannel(store)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(WAIT_S)
            target = f"127.0.0.1:{listener.getsockname()[1]}"
            self.process = subprocess.Popen(
                ["openssl", "s_client", "-connect", target, version, "-quiet", "-no_ign_eof"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self.sock, _ = listener.accept()
        self.sock.settimeout(WAIT_S)
        while self.channel.shaking:
            self.turn()

    def turn(self) -> bytes:
        """Receive once; returns the plaintext of that."""
        data = self.sock.recv(65536)
        assert data, "the client has left"
        plaintext = self.channel.receive(data)
        self.sock.sendall(self.channel.outgoing())
        return plaintext

    def type(self, text: str) -> None:
        """Type into the client."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def close(self) -> str:
        """End both; returns what the client printed."""
        self.sock.close()
        if self.process.returncode is None:
            self.process.kill()
            self.printed = self.process.communicate(timeout=WAIT_S)[0].decode()
        return self.printed

    def read_client(self) -> str:
        """Return what the client prints next."""
        assert self.process.stdout is not None
        return os.read(self.process.stdout.fileno(), 65536).decode()

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsStore]:
    """Hold one certificate for localhost."""
    path: Path = tmp_path_factory.mktemp("tls") / "site.pem"
    return open_store(Options(certfile=Authority().server("localhost").write(path)), [])


@pytest.mark.spec("H2-CONN-04")
def test_renegotiation_is_refused(store: TlsStore) -> None:
    with Talk(store, "-tls1_2") as talk:
        talk.type("R\n")
        assert talk.turn() == b""
        printed = ""
        while "no renegotiation" not in printed:
            more = talk.read_client()
            assert more, printed
            printed += more


def test_new_keys_are_given(store: TlsStore) -> None:
    with Talk(store, "-tls1_3") as talk:
        for round_ in range(3):
            talk.type("K\n")
            assert talk.turn() == b""
            talk.type(f"line {round_}\n")
            assert talk.turn() == b"line %d\n" % round_
            talk.sock.sendall(talk.channel.seal(b"answer %d\n" % round_))
            printed = ""
            while f"answer {round_}\n" not in printed:
                printed += talk.read_client()


def test_new_keys_are_given_again_and_again_where_data_flows(store: TlsStore) -> None:
    with Talk(store, "-tls1_3") as talk:
        talk.sock.sendall(talk.channel.seal(b"x"))
        for _ in range(3):
            for _ in range(MAX_CHATTER // 2 + 2):
                talk.type("K\n")
                assert talk.turn() == b""
            talk.type("line\n")
            assert talk.turn() == b"line\n"


def test_new_keys_are_not_given_without_end(store: TlsStore) -> None:
    with Talk(store, "-tls1_3") as talk:
        # OpenSSL answers the first request along with data only, those behind it at once.
        talk.sock.sendall(talk.channel.seal(b"x"))
        with pytest.raises(TlsError, match="without end"):
            for _ in range(MAX_CHATTER + 3):
                talk.type("K\n")
                assert talk.turn() == b""
