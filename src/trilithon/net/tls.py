"""One TLS connection without a socket: ciphertext in, plaintext out, and the other way round."""

from ssl import MemoryBIO, SSLCertVerificationError, SSLError, SSLWantReadError

from trilithon.foundation.errors import InternalError
from trilithon.net.certificates import TlsStore
from trilithon.net.tls_contexts import Conversation
from trilithon.net.tls_facts import gather_facts
from trilithon.net.tls_hello import MAX_HELLO_BYTES, ClientHello
from trilithon.wire.exchange import TlsFacts

# The most plaintext that one record holds (RFC 8446 5.1): a read of that size always takes a record whole.
RECORD_BYTES = 16384
# Ciphertext goes into OpenSSL's buffer, and comes out of it, in pieces of this size: what such a buffer has grown to it
# keeps, for as long as the connection lives. More at a time is faster: 7 to 12 percent of a large answer on its way.
# On the way in it would be 5, and there the client decides how much of that memory is taken.
STEP_BYTES = 2 * RECORD_BYTES
SEAL_STEP_BYTES = 5 * RECORD_BYTES
# Key updates and attempts at renegotiation that are answered between two pieces of data.
MAX_CHATTER = 32


class TlsError(ConnectionError):
    """The connection cannot go on; `reason` is a phrase for the log. An alert may wait in `outgoing()`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class PlainHttp(TlsError):
    """The client speaks HTTP without TLS: it can be answered in the clear."""


class TlsChannel:
    """The server's side of one TLS connection; its methods run on the thread that owns the connection.

    After every call of `receive`, also one that raised, the caller sends what `outgoing` returns. `ended` says that the
    client has said all (close_notify); it can still be sent something. After an error nothing more is taken.
    Where the server ends while the owner is left behind in the application, another thread says the farewell: only one
    is let into OpenSSL then.
    """

    def __init__(self, store: TlsStore) -> None:
        self.shaking = True
        self.ended = False
        self._failed = False
        self._sealing = False
        self._chatter = 0
        self._store = store
        self._hello: ClientHello | None = None
        self._conversation: Conversation | None = None
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()

    def receive(self, data: bytes) -> bytes:
        """Take ciphertext, go on with the handshake, return the plaintext that is there; raises TlsError."""
        if len(data) <= STEP_BYTES:
            return self._take(data)
        view = memoryview(data)
        parts = [self._take(view[at : at + STEP_BYTES]) for at in range(0, len(data), STEP_BYTES)]
        return b"".join(parts)

    def seal(self, data: bytes) -> bytes:
        """Return `data` as records, behind whatever `outgoing` would have returned; raises TlsError."""
        size = len(data)
        conversation = self._conversation
        if conversation is None or self.shaking:
            raise InternalError("nothing can be sealed before the handshake is done")
        if self._failed or self._sealing:
            raise TlsError("nothing is sent any more")
        self._sealing = True
        try:
            if size <= SEAL_STEP_BYTES:
                if size:
                    conversation.write(data)
                return self._outgoing.read()
            view = memoryview(data)
            parts = []
            for at in range(0, size, SEAL_STEP_BYTES):
                conversation.write(view[at : at + SEAL_STEP_BYTES])
                parts.append(self._outgoing.read())
            return b"".join(parts)
        except OSError as fault:
            raise self._fail(fault) from None
        finally:
            self._sealing = False

    def outgoing(self) -> bytes:
        """Return what has to be sent beside data: handshake, tickets, key updates, alerts; mostly nothing."""
        if not self._outgoing.pending:
            return b""
        self._chatter += 1
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """Return the close_notify alert, behind whatever waits; nothing when it was said or cannot be any more."""
        conversation = self._conversation
        if conversation is not None and not self._failed and not self.shaking:
            self._failed = True
            if self._sealing:
                return b""  # OpenSSL must not be entered twice
            try:
                # It would wait for the client's close_notify, which RFC 8446 6.1 does not ask for.
                conversation.unwrap()
            except (OSError, ValueError):
                pass
        return self._outgoing.read()

    def facts(self) -> TlsFacts:
        """Return what both ends agreed on; after the handshake."""
        if self._conversation is None or self.shaking:
            raise InternalError("nothing is agreed on before the handshake is done")
        return gather_facts(self._conversation)

    def _take(self, data: bytes | memoryview) -> bytes:
        """Take a piece of ciphertext that is small enough for OpenSSL's buffer."""
        if self.ended or self._failed:
            return b""
        if self._chatter > MAX_CHATTER:
            raise self._refuse("the client asks for new keys without end")
        incoming = self._incoming
        if self.shaking:
            self._shake(data)
            if self.shaking or not incoming.pending:
                return b""
        else:
            incoming.write(data)
        conversation = self._conversation
        assert conversation is not None
        try:
            part = conversation.read(RECORD_BYTES)
            if incoming.pending and part:
                part = self._read_on(part)
        except SSLWantReadError:
            return b""
        except OSError as fault:
            raise self._fail(fault) from None
        if not part:
            self.ended = True
        elif self._chatter:
            self._chatter = 0
        return part

    def _read_on(self, part: bytes) -> bytes:
        """Return what further records hold behind a part that was read; raises what OpenSSL raises."""
        conversation = self._conversation
        assert conversation is not None
        parts = [part]
        try:
            # What is read when nothing is left would raise, which costs more than a record does.
            while part and self._incoming.pending:
                part = conversation.read(RECORD_BYTES)
                parts.append(part)
        except SSLWantReadError:
            pass
        else:
            if not part:
                self.ended = True
        return b"".join(parts)

    def _shake(self, data: bytes | memoryview) -> None:
        """Go on with the handshake; OpenSSL bounds what comes behind the hello."""
        conversation = self._conversation
        if conversation is None:
            conversation = self._greet(data)
            if conversation is None:
                return
        else:
            self._incoming.write(data)
        try:
            conversation.do_handshake()
            self.shaking = False
        except SSLWantReadError:
            pass
        except OSError as fault:
            raise self._fail(fault) from None

    def _greet(self, data: bytes | memoryview) -> Conversation | None:
        """Begin with the certificate that the client asks for once its hello is whole; None until then."""
        hello = self._hello
        if hello is None:
            # A method begins with a letter, which no record of TLS or SSL does.
            if bytes(data[:1]).isalpha():
                self._failed = True
                raise PlainHttp("the client speaks HTTP without TLS")
            hello = self._hello = ClientHello()
        if not hello.feed(data):
            if len(hello.records) > MAX_HELLO_BYTES or hello.size > MAX_HELLO_BYTES:
                raise self._refuse("the client's hello is too long")
            return None
        self._hello = None
        self._conversation = self._store.open(hello.name(), self._incoming, self._outgoing)
        self._incoming.write(hello.records)
        return self._conversation

    def _refuse(self, reason: str) -> TlsError:
        """Return the error for what this side does not put up with."""
        self._failed = True
        return TlsError(reason)

    def _fail(self, fault: OSError) -> TlsError:
        """Return the error that says what OpenSSL found wrong."""
        if isinstance(fault, SSLCertVerificationError):
            return self._refuse(f"the client's certificate was refused: {fault.verify_message}")
        reason = fault.reason if isinstance(fault, SSLError) else None
        return self._refuse((reason or str(fault)).replace("_", " ").lower())
