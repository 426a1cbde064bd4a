"""What the server needs to know of its own certificates: names, validity and fingerprint, read from the DER itself."""

import calendar
import hashlib
import re
import ssl
import time
from collections.abc import Iterator

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_SEQUENCE = 0x30
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_EXTENSIONS = 0xA3
_DNS_NAME = 0x82
_SUBJECT_ALT_NAME = bytes((0x06, 0x03, 0x55, 0x1D, 0x11))


class Leaf:
    """One certificate: its PEM text, its DNS names in lower case, when it is valid (seconds since 1970)."""

    def __init__(self, pem: str) -> None:
        """Read the first certificate in `pem`; raises ValueError when there is none, or one that cannot be read."""
        found = _BLOCK.search(pem)
        if found is None:
            raise ValueError("holds no certificate in PEM")
        self.pem = found[0] + "\n"
        self.der = ssl.PEM_cert_to_DER_cert(self.pem)
        try:
            names, self.valid_from, self.valid_until = _read(self.der)
        except (IndexError, UnicodeDecodeError):
            raise ValueError("holds a certificate that cannot be read") from None
        self.names = tuple(name.lower() for name in names)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 fingerprint as browsers and openssl show it."""
        return hashlib.sha256(self.der).digest().hex(":").upper()

    def out_of_date(self, now: float) -> str:
        """Say in a phrase why the certificate is not valid at `now` (seconds since 1970), nothing when it is."""
        if now > self.valid_until:
            return f"expired on {_date(self.valid_until)}"
        if now < self.valid_from:
            return f"is not valid before {_date(self.valid_from)}"
        return ""


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _read(der: bytes) -> tuple[list[str], float, float]:
    """Return DNS names, beginning and end of validity (RFC 5280 4.1); raises ValueError or IndexError."""
    _, start, stop = _element(der, 0, len(der))
    _, start, stop = _element(der, start, stop)
    names: list[str] = []
    validity: list[float] = []
    for tag, at, end in _elements(der, start, stop):
        if tag == _SEQUENCE and not validity:
            validity = _validity(der, at, end)
        elif tag == _EXTENSIONS:
            _, at, end = _element(der, at, end)
            names = _alternative_names(der, at, end)
    if len(validity) != 2:
        raise ValueError("holds a certificate without validity")
    return names, validity[0], validity[1]


def _validity(der: bytes, start: int, stop: int) -> list[float]:
    """Return the two times of a validity, nothing for another sequence."""
    times: list[float] = []
    for tag, at, end in _elements(der, start, stop):
        text = der[at:end].decode("ascii", "replace")
        if tag == _UTC_TIME:
            # RFC 5280 4.1.2.5.1: two digits of the year from 50 on mean the last century.
            text = ("19" if text >= "50" else "20") + text
        elif tag != _GENERALIZED_TIME:
            return []
        times.append(float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))))
    return times


def _alternative_names(der: bytes, start: int, stop: int) -> list[str]:
    for _, at, end in _elements(der, start, stop):
        if der[at : at + len(_SUBJECT_ALT_NAME)] == _SUBJECT_ALT_NAME:
            *_, (_, at, end) = _elements(der, at, end)
            _, at, end = _element(der, at, end)
            return [der[a:b].decode("ascii") for tag, a, b in _elements(der, at, end) if tag == _DNS_NAME]
    return []


def _elements(der: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield tag, start and end of each element between `start` and `stop`."""
    while start < stop:
        found = _element(der, start, stop)
        yield found
        start = found[2]


def _element(der: bytes, start: int, stop: int) -> tuple[int, int, int]:
    """Return tag, start and end of the element at `start`; raises ValueError when it does not end before `stop`."""
    tag, length = der[start], der[start + 1]
    start += 2
    if length & 0x80:
        octets = length & 0x7F
        length = int.from_bytes(der[start : start + octets], "big")
        start += octets
    if start + length > stop:
        raise ValueError("holds a certificate that is cut off")
    return tag, start, start + length
