"""Mounts: which application serves which part of a site's paths, longest prefix at a segment boundary first."""

from trilithon.foundation.errors import ConfigError
from trilithon.wire.exchange import Exchange
from trilithon.wire.target import decode_path


class Mount:
    """A gateway and the prefix it serves: "" for the whole site, else "/a/b" without a closing slash."""

    def __init__(self, prefix: str, gateway: object, root_path: str = "") -> None:
        self.prefix = prefix
        self.gateway = gateway
        self.root_path = root_path + prefix
        self.octets = prefix.encode("utf-8")


class Router:
    """Finds the gateway of an exchange and writes it and its root path into the exchange.

    A root path that the exchange has already, since a proxy told it, takes the place of `root_path`.
    """

    def __init__(self, mounts: list[Mount], root_path: str = "") -> None:
        self.mounts = sorted(mounts, key=lambda mount: -len(mount.octets))
        self.root_octets = root_path.encode("utf-8")
        self.only = mounts[0] if len(mounts) == 1 and not mounts[0].prefix else None

    def find(self, exchange: Exchange) -> object | None:
        """Return the gateway that serves the path of the exchange, None when there is none."""
        gateway: object | None = exchange.gateway
        if gateway is not None:
            return gateway  # another driver has found it, and handed the exchange on
        only = self.only
        if only is not None:
            exchange.root_path = exchange.root_path or only.root_path
            exchange.gateway = only.gateway
            return only.gateway
        path = exchange.head.path
        if b"%" in path:
            path = decode_path(path)
        told = exchange.root_path
        root = told.encode("utf-8") if told else self.root_octets
        if root and begins(path, root):
            path = path[len(root) :]
        for mount in self.mounts:
            # What is asked of the whole server (OPTIONS *) belongs to the application nearest to the root.
            if begins(path, mount.octets) or (path == b"*" and mount is self.mounts[-1]):
                exchange.root_path = told + mount.prefix if told else mount.root_path
                exchange.mounted_at = mount.prefix
                exchange.gateway = mount.gateway
                return mount.gateway
        return None


def begins(path: bytes, prefix: bytes) -> bool:
    """Tell whether a path begins with a prefix at a segment boundary."""
    return path.startswith(prefix) and (len(path) == len(prefix) or path[len(prefix)] == 0x2F or not prefix)


def normal_prefix(prefix: str, option: str = "mount") -> str:
    """Return a prefix in its one form: "" or "/a/b"; raises ConfigError for one without a leading slash."""
    if prefix in ("", "/"):
        return ""
    if not prefix.startswith("/") or "//" in prefix or "?" in prefix or "#" in prefix:
        raise ConfigError(option, prefix, "write a path such as /legacy")
    return prefix.rstrip("/")
