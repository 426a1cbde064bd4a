"""The contexts of the ssl module: how each is set up, and how a certificate and its key get into one."""

import os
import ssl
import stat
from pathlib import Path

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.tls_options import TlsOptions
from trilithon.net.tls_x509 import Leaf

# Forward secrecy and authenticated encryption only: nothing of RFC 9113 Appendix A, and the suite of 9.2.2 is in it.
DEFAULT_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CLIENT_CERTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_IANA_MASK = 0xFFFF
# What OpenSSL's shorter words mean to who wrote the files.
_REMEDIES = {
    "EE_KEY_TOO_SMALL": "its key is too short to be safe; make one of at least 2048 bits for RSA, 256 for ECDSA",
    "CA_MD_TOO_WEAK": "it is signed with a hash that is not safe any more; have it issued anew",
    "BAD_END_LINE": "it is cut short; copy the file anew",
    "BAD_BASE64_DECODE": "it is damaged; copy the file anew",
}


class Conversation(ssl.SSLObject):
    """The server's side of one TLS connection; `wanted` is the name that the client asked for."""

    wanted: str | None = None


class Context(ssl.SSLContext):
    """Everything that a connection is made with: options, suites, ALPN and a certificate.

    `numbers` has the number of each cipher suite in the registry by OpenSSL's name for it; `asks` says whether clients
    are asked for certificates. `front` is what its connections begin with, which holds the key of their session
    tickets: the context itself, or where its certificate is a renewed one, that of the first.
    """

    leaf: Leaf | None = None

    def __init__(self, protocol: int) -> None:
        super().__init__()
        self.numbers: dict[str, int] = {}
        self.asks = False
        self.front = self


class Pair:
    """Where a certificate and its key are: the option that says so and the two files, which may be one."""

    def __init__(self, option: str, certfile: str, keyfile: str) -> None:
        self.option = option
        self.certfile = certfile
        self.keyfile = keyfile


def make_context(options: TlsOptions, alpn: list[str]) -> Context:
    """Return a context without a certificate; raises ConfigError for `ciphers` and `ca_certs`."""
    context = Context(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = Conversation
    context.minimum_version = _VERSIONS[options.tls_min_version]
    # A client comes back with one session at a time, and gets a new ticket then: a second one would cost 7 percent of a
    # handshake, and 250 bytes.
    context.num_tickets = 1
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    try:
        context.set_ciphers(options.ciphers or DEFAULT_CIPHERS)
    except ssl.SSLError:
        raise ConfigError(
            "ciphers", options.ciphers, "OpenSSL knows no such suites; try openssl ciphers -v with the same text"
        ) from None
    _refuse_empty_suites(context, options.ciphers)
    if options.ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        # All of the default are good: a telephone without AES in hardware may prefer ChaCha20.
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if alpn:
        context.set_alpn_protocols(alpn)
    context.numbers = {suite["name"]: suite["id"] & _IANA_MASK for suite in context.get_ciphers()}
    if options.client_certs != "none":
        _load_authorities(context, options.ca_certs)
        context.asks = True
        context.verify_mode = _CLIENT_CERTS[options.client_certs]
    return context


def _refuse_empty_suites(context: Context, ciphers: str) -> None:
    """Refuse suites that protect nothing, which OpenSSL's ALL and HIGH hold as well; raises ConfigError."""
    for suite in context.get_ciphers():
        flaw = ""
        if not suite["strength_bits"]:
            flaw = "does not encrypt"
        elif suite["auth"] == "auth-null":
            flaw = "lets anybody pass for the server"
        if flaw:
            raise ConfigError("ciphers", ciphers, f"{suite['name']} is among them, which {flaw}; append :!aNULL:!eNULL")


def _load_authorities(context: Context, path: str) -> None:
    require_regular("ca_certs", path)
    try:
        context.load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ConfigError("ca_certs", path, "holds no certificate in PEM that can be read") from None
    except OSError as fault:
        raise ConfigError("ca_certs", path, f"cannot be read: {fault.strerror}") from None


def load_pair(context: Context, pair: Pair, password: str) -> Leaf:
    """Load certificate and key into `context`; raises ConfigError that names the option and the file."""
    text = _read(pair.option, pair.certfile)
    try:
        leaf = Leaf(text)
    except ValueError as fault:
        raise ConfigError(pair.option, pair.certfile, str(fault)) from None
    key_option = "keyfile" if pair.option == "certfile" and pair.keyfile != pair.certfile else pair.option
    if pair.option == "cert_dir" and not os.path.exists(pair.keyfile):
        name = os.path.basename(pair.keyfile)
        raise ConfigError(pair.option, pair.certfile, f"its key is missing, which should be {name} beside it")
    key = text if pair.keyfile == pair.certfile else _read(key_option, pair.keyfile)
    if "PRIVATE KEY-----" not in key:
        where = "; put it beside as NAME.key" if pair.option == "cert_dir" else "; name its file with keyfile"
        raise ConfigError(key_option, pair.keyfile, f"holds no private key in PEM{where}")
    asked: list[bool] = []

    def give_password() -> str:
        # Without a function OpenSSL would ask on the terminal, and wait.
        asked.append(True)
        return password

    try:
        context.load_cert_chain(pair.certfile, pair.keyfile, give_password)
    except ssl.SSLError as fault:
        raise _explained(fault, pair, key_option, bool(asked), bool(password)) from None
    except (OSError, ValueError) as fault:
        raise ConfigError(pair.option, pair.certfile, f"cannot be loaded: {fault}") from None
    context.leaf = leaf
    return leaf


def require_regular(option: str, path: str) -> None:
    """Raise ConfigError for what is there and is no regular file: opening a pipe would wait, and stop everybody."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # whoever opens it says why not
    if not stat.S_ISREG(mode):
        raise ConfigError(option, path, "is no regular file; it is read more than once, so no pipe will do")


def _read(option: str, path: str) -> str:
    require_regular(option, path)
    try:
        return Path(path).read_text(encoding="latin-1")
    except OSError as fault:
        raise ConfigError(option, path, f"cannot be read: {fault.strerror}") from None


def _explained(fault: ssl.SSLError, pair: Pair, key_option: str, asked: bool, given: bool) -> ConfigError:
    """Put OpenSSL's refusal of a certificate or key in terms of the options."""
    if fault.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        remedy = f"is not the key of the first certificate in {pair.certfile}, which has to be the server's own"
        return ConfigError(key_option, pair.keyfile, remedy)
    if asked and given:
        return ConfigError(key_option, pair.keyfile, "keyfile_password does not open the key")
    if asked:
        return ConfigError(key_option, pair.keyfile, "the key has a password; give it with keyfile_password_file")
    if fault.reason in _REMEDIES:
        return ConfigError(pair.option, pair.certfile, _REMEDIES[fault.reason])
    if fault.reason is None or "PEM" in str(fault):
        return ConfigError(pair.option, pair.certfile, f"it or its key in {pair.keyfile} is damaged; copy both anew")
    reason = fault.reason.replace("_", " ").lower()
    return ConfigError(pair.option, pair.certfile, f"OpenSSL cannot use certificate or key: {reason}")
