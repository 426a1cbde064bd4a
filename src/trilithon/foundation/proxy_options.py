"""The rows of the option table that say which proxies stand in front, and what is believed of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from trilithon.foundation.errors import ConfigError
from trilithon.foundation.networks import Networks, read_networks
from trilithon.foundation.option_row import Section, row
from trilithon.foundation.tls_options import TlsOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyOptions(TlsOptions):
    """The part of `Options` that is about proxies."""

    trusted_proxies: Sequence[str] = row(
        ("127.0.0.1", "::1", "unix"),
        Section.PROXIES,
        "Proxy that is believed when forwarded or proxy_protocol says what it tells: an IP address, a network such as "
        "10.0.0.0/8, unix for the peers of Unix sockets, * for whoever connects. May be given several times.",
        flag_name="trusted-proxy",
        metavar="ADDRESS",
    )
    forwarded: str = row(
        "none",
        Section.PROXIES,
        "Fields in which trusted proxies name the client and its scheme: Forwarded of RFC 7239, or X-Forwarded-For, "
        "-Proto and -Port. Only what the proxies in front really set may be chosen.",
        choices=("none", "forwarded", "x-forwarded"),
    )
    forwarded_host: bool = row(
        False,
        Section.PROXIES,
        "Let the application see the host that trusted proxies name, as its Host field.",
    )
    forwarded_prefix: bool = row(
        False,
        Section.PROXIES,
        "Let X-Forwarded-Prefix of trusted proxies take the place of root_path.",
    )
    proxy_protocol: str = row(
        "off",
        Section.PROXIES,
        "Version of the PROXY protocol that every connection has to begin with, coming from a trusted proxy; any takes "
        "both versions.",
        choices=("off", "v1", "v2", "any"),
    )
    proxy_timeout_s: float = row(
        5.0,
        Section.PROXIES,
        "Time for the whole PROXY header, from the connection's start.",
        minimum=0.1,
    )

    def trusted(self) -> Networks:
        """Return the trusted proxies as a set to look peers up in."""
        return read_networks(self.trusted_proxies, "trusted_proxies")


def check_proxies(options: ProxyOptions) -> None:
    """Refuse what does not fit together; raises ConfigError."""
    options.trusted()
    if not options.trusted_proxies:
        if options.proxy_protocol != "off":
            raise ConfigError("proxy_protocol", options.proxy_protocol, "name the proxies in trusted_proxies")
        if options.forwarded != "none":
            raise ConfigError("forwarded", options.forwarded, "name the proxies in trusted_proxies")
    if options.forwarded_host and options.forwarded == "none":
        raise ConfigError("forwarded_host", True, "needs forwarded to say which fields: forwarded or x-forwarded")
    if options.forwarded_prefix and options.forwarded != "x-forwarded":
        raise ConfigError("forwarded_prefix", True, "needs forwarded = x-forwarded; RFC 7239 knows no prefix")
