"""The hosts that a server answers for: a request for another one is misdirected (RFC 9110 15.5.20)."""

from collections.abc import Sequence

from trilithon.wire.memo import MAX_KEY_BYTES, Memo

KEPT_HOSTS = 256


class AllowedHosts:
    """Tells whether a Host is one of `names`: a name or address, or `*.name` for all below it; ports do not count."""

    def __init__(self, names: Sequence[str]) -> None:
        lowered = [name.lower().encode("ascii").rstrip(b".") for name in names]
        self.exact = frozenset(name for name in lowered if not name.startswith(b"*."))
        self.endings = tuple(name[1:] for name in lowered if name.startswith(b"*."))
        self.verdicts = Memo(KEPT_HOSTS)

    def allows(self, host: bytes | None) -> bool:
        """Tell whether a request with this Host may be served; one without has none of the names."""
        if host is None:
            return False
        verdict: bool | None = self.verdicts.find(host)
        if verdict is None:
            verdict = self.judge(host)
            if len(host) <= MAX_KEY_BYTES:
                self.verdicts.keep(host, verdict)
        return verdict

    def judge(self, host: bytes) -> bool:
        """Look a host up that is met for the first time."""
        name = host.lower()
        if name.startswith(b"["):
            name = name[: name.find(b"]") + 1]
        else:
            name = name.partition(b":")[0]
        name = name.rstrip(b".")
        return name in self.exact or name.endswith(self.endings)
