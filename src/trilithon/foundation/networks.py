"""Sets of peers by address: single IP addresses, CIDR networks, the peers of Unix sockets, everybody."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from trilithon.foundation.errors import ConfigError

FORMS = "an IP address, a network such as 10.0.0.0/8, unix for the peers of Unix sockets, or * for everybody"

# Answers that are remembered, one an address.
KEPT_ANSWERS = 1024


class Networks:
    """A set of peers: whoever is in one of `networks`, the peers of Unix sockets if `unix`, or all if `everybody`.

    Made once and only read afterwards, by any thread. IPv6 addresses that carry an IPv4 one count as that one.
    """

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network], unix: bool, everybody: bool) -> None:
        # Not "unix": C compilers take that word for a 1.
        self.unix_peers = unix
        self.everybody = everybody
        # Grouped by version and length of the prefix: one look into a set for each length, however many networks.
        self.prefixes: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            numbers = self.prefixes.setdefault((network.version, shift), set())
            numbers.add(int(network.network_address) >> shift)
        self.answers: dict[str, bool] = {}

    def trusts(self, peer: tuple[str, int] | None) -> bool:
        """Tell whether a direct peer is in the set: (host, port), None for that of a Unix socket. One dict look-up."""
        if self.everybody:
            return True
        return self.unix_peers if peer is None else self.covers(peer[0])

    def covers(self, host: str) -> bool:
        """Tell whether one of the networks holds an address; False for what is no address. `*` does not count."""
        answer = self.answers.get(host)
        if answer is None:
            answer = self.holds(host)
            # Whoever fills the memory with addresses of its own costs others the gain, nothing else.
            if len(self.answers) >= KEPT_ANSWERS:
                self.answers.clear()
            self.answers[host] = answer
        return answer

    def holds(self, host: str) -> bool:
        """Do what `covers` says, without the memory."""
        address = read_address(host.partition("%")[0])
        if address is None:
            return False
        number = int(address)
        for (version, shift), numbers in self.prefixes.items():
            if version == address.version and number >> shift in numbers:
                return True
        return False


def read_networks(texts: Iterable[str], option: str) -> Networks:
    """Read the items of an option; raises ConfigError naming `option` for one that has none of the forms."""
    networks: list[IPv4Network | IPv6Network] = []
    words = set()
    for text in texts:
        if text in ("unix", "*"):
            words.add(text)
        else:
            networks.append(_network(text, option))
    return Networks(networks, unix="unix" in words, everybody="*" in words)


def _network(text: str, option: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise ConfigError(option, text, _remedy(text)) from None
    if isinstance(network, IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((int(mapped), network.prefixlen - 96))
        if network.network_address.scope_id is not None:
            raise ConfigError(option, text, "write the address without the zone behind the %")
    return network


def _remedy(text: str) -> str:
    if text.startswith("unix"):
        return "unix alone stands for the peers of every Unix socket"
    try:
        return f"the address has bits set behind the prefix; write {ip_network(text, strict=False)}"
    except ValueError:
        return f"must be {FORMS}; names are not looked up"


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an IP address, an IPv4-mapped one as IPv4; None for what is none. Zones, as in fe80::1%eth0, are none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address
