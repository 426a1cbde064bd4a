"""The certificates of the server: loaded before any fork, chosen by name (SNI), loaded anew when their files change."""

import logging
import math
import os
import ssl
import time
from pathlib import Path

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.options import Options
from trilithon.net.self_signed import load_self_signed
from trilithon.net.tls_contexts import Context, Conversation, Pair, load_pair, make_context, require_regular

log = logging.getLogger("trilithon.error")

Stamp = tuple[int, int, int, int] | None
Stamps = dict[str, Stamp]


class Table:
    """The contexts that are in use, by the names of their certificates.

    `loaded` says what each was loaded from, `authorities` which file of authorities all were made with. Their order is
    for as long as no certificate expires or begins to be valid, which happens `until` (seconds since 1970).
    """

    def __init__(self, authorities: Stamp = None) -> None:
        self.authorities = authorities
        self.until = math.inf
        self.contexts: list[Context] = []
        self.loaded: dict[tuple[str, str], tuple[Stamp, Stamp, Context]] = {}
        self.exact: dict[str, Context] = {}
        self.wild: dict[str, Context] = {}

    def add(self, context: Context) -> None:
        """Add a context with its certificate; a name that another one has stays with that."""
        self.contexts.append(context)
        for name in context.leaf.names if context.leaf is not None else ():
            if name.startswith("*."):
                self.wild.setdefault(name[2:], context)
            else:
                self.exact.setdefault(name, context)

    def choose(self, name: str | None) -> Context:
        """Return the context for the name that a client asks for: exact, one label for a star, or the default."""
        if name and len(self.contexts) > 1:
            name = name.lower().rstrip(".")
            found = self.exact.get(name) or self.wild.get(name.partition(".")[2])
            if found is not None:
                return found
        return self.contexts[0]


class TlsStore:
    """What TLS connections are made from; one for each process, its first contexts made before any fork.

    Connections are opened and files looked at on the engine's thread.
    """

    def __init__(self, options: Options, alpn: list[str]) -> None:
        self._options = options
        self._alpn = alpn
        self._stamps = look(options)
        self.table = load_table(options, alpn)
        self._next_look = 0.0
        self._fault = ""

    def open(self, name: str | None, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> Conversation:
        """Return the server's side of a new connection of a client that asks for `name`, None for nobody.

        The name is read before OpenSSL sees it: the ssl module's own way calls back for each connection, and lets a
        client that sends no ASCII write to standard error.
        """
        context = self.table.choose(name)
        conversation = context.front.wrap_bio(incoming, outgoing, server_side=True)
        assert isinstance(conversation, Conversation)
        if context.front is not context:
            conversation.context = context
        conversation.wanted = name
        return conversation

    def reload_if_changed(self, now: float, is_spare: bool = False) -> bool:
        """Look for changed files every `cert_reload_s`, `now` being the monotonic clock; True when new ones are in use.

        All are loaded aside first: where one cannot be used the old one stays, and the log says so once. That waits for
        another look, as the files of a pair are seldom written at the same moment. Nothing is said where `is_spare`: it
        serves nobody.
        """
        interval_s = self._options.cert_reload_s
        if not interval_s or self._options.self_signed or now < self._next_look:
            return False
        self._next_look = now + interval_s
        stamps = look(self._options)
        if stamps == self._stamps and time.time() < self.table.until:
            if self._fault and not is_spare:
                log.error("Certificates cannot be loaded anew, the old ones stay in use: %s", self._fault)
            self._fault = ""
            return False
        self._stamps = stamps
        faults: list[ConfigError] = []
        try:
            table = load_table(self._options, self._alpn, self.table, faults)
        except ConfigError as fault:
            self._fault = str(fault)
            self.table.until = math.inf  # a change of the files comes first
            return False
        self._fault = "; ".join(str(fault) for fault in faults)
        was, self.table = self.table, table
        if table.contexts == was.contexts:
            return False  # something else in the directory
        if not is_spare:
            log.info("The certificates were loaded anew")
        return True


def open_store(options: Options, alpn: list[str]) -> TlsStore:
    """Load all certificates; `alpn` lists the protocols on offer, the preferred one first.

    Raises ConfigError naming the option, the file and what would do. To be called once, before any fork.
    """
    return TlsStore(options, alpn)


def load_table(
    options: Options, alpn: list[str], old: Table | None = None, faults: list[ConfigError] | None = None
) -> Table:
    """Load every certificate of `options` into a context of its own; raises ConfigError.

    Contexts of `old` whose files have not changed are taken over: loading costs some milliseconds each, in which nobody
    is served. So are those whose new files cannot be used, and `faults` gets the reason: one bad file stops no other.
    """
    table = Table(stamp_of(options.ca_certs) if options.ca_certs else None)
    if options.self_signed:
        context = make_context(options, alpn)
        load_self_signed(context, options.addresses())
        table.add(context)
        return table
    password = read_password(options)
    # What was made with other authorities would let their clients in, and go on with their sessions.
    kept = old.loaded if old is not None and old.authorities == table.authorities else None
    found = []
    now = time.time()
    for pair in pairs(options):
        files = (pair.certfile, pair.keyfile)
        # Looked at before they are read: what changes meanwhile is seen the next time.
        stamps = (stamp_of(pair.certfile), stamp_of(pair.keyfile))
        known = kept.get(files) if kept is not None else None
        if known is None or known[:2] != stamps:
            try:
                context = make_context(options, alpn)
                leaf = load_pair(context, pair, password)
                if known is not None and known[2].leaf is not None and known[2].leaf.names == leaf.names:
                    # The key of the session tickets stays, the same in all workers. Under other names it does not: a
                    # session is for the name that it was opened under (RFC 6066 3).
                    context.front = known[2].front
                known = (*stamps, context)
            except ConfigError as fault:
                if kept is None or faults is None:
                    raise
                faults.append(fault)
                if known is None:
                    continue
        table.loaded[files] = known
        context = known[2]
        trouble = ""
        if context.leaf is not None:
            trouble = context.leaf.out_of_date(now)
            changes = [each for each in (context.leaf.valid_from, context.leaf.valid_until) if each >= now]
            table.until = min([table.until, *changes])
        if trouble:
            log.warning("The certificate in %s %s", pair.certfile, trouble)
        found.append((pair.option != "certfile", bool(trouble), context))
    if faults and not found:
        raise faults[0]
    # certfile is the default whatever its state; of others with the same name a valid one goes first.
    found.sort(key=lambda each: each[:2])
    for _, _, context in found:
        table.add(context)
    return table


def pairs(options: Options) -> list[Pair]:
    """Return where certificates and keys are; raises ConfigError for a directory without any."""
    found = []
    if options.certfile:
        found.append(Pair("certfile", options.certfile, options.keyfile or options.certfile))
    if options.cert_dir:
        directory = Path(options.cert_dir)
        try:
            entries = sorted(each for each in directory.iterdir() if not each.name.startswith("."))
        except OSError as fault:
            raise ConfigError("cert_dir", options.cert_dir, f"cannot be read: {fault.strerror}") from None
        found += [pair for entry in entries for pair in _pairs_of(entry)]
    if not found:
        raise ConfigError("cert_dir", options.cert_dir, "holds no certificate: NAME.pem, or NAME.crt beside NAME.key")
    return found


def _pairs_of(entry: Path) -> list[Pair]:
    """Return the pair that a directory's entry stands for, if any."""
    # As certbot lays them out, one directory for each site.
    if entry.is_dir():
        chain, key = entry / "fullchain.pem", entry / "privkey.pem"
        return [Pair("cert_dir", str(chain), str(key))] if chain.exists() else []
    if entry.suffix not in (".pem", ".crt"):
        return []
    key = entry.with_suffix(".key")
    return [Pair("cert_dir", str(entry), str(key if key.exists() or entry.suffix == ".crt" else entry))]


def read_password(options: Options) -> str:
    """Return the password of the keys, empty for none; raises ConfigError when its file cannot be read."""
    path = options.keyfile_password_file
    if not path:
        return options.keyfile_password
    require_regular("keyfile_password_file", path)
    try:
        return Path(path).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise ConfigError("keyfile_password_file", path, "is not text in UTF-8") from None
    except OSError as fault:
        raise ConfigError("keyfile_password_file", path, f"cannot be read: {fault.strerror}") from None


def look(options: Options) -> Stamps:
    """Return the stamp of every file that certificates are made of, and of what is in the directory of them."""
    stamps: Stamps = {}
    for path in (options.certfile, options.keyfile, options.keyfile_password_file, options.ca_certs):
        if path:
            stamps[path] = stamp_of(path)
    if options.cert_dir:
        _look_into(options.cert_dir, stamps, 1)
    return stamps


def _look_into(path: str, stamps: Stamps, depth: int) -> None:
    stamps[path] = stamp_of(path)
    try:
        entries = list(os.scandir(path))
    except OSError:
        return
    for entry in entries:
        stamps[entry.path] = stamp_of(entry.path)
        if depth and entry.is_dir():
            _look_into(entry.path, stamps, depth - 1)


def stamp_of(path: str) -> Stamp:
    """Return what tells a changed file from the same one: times, size and inode; None for one that is missing.

    One of the times is that of its mode and owner: a key is often written first and allowed to be read then.
    """
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
