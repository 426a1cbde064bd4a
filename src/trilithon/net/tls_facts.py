"""What a TLS connection tells the application, in the terms of the ASGI extension `tls` and of the registries."""

import ssl
from collections.abc import Iterable

from trilithon.net.tls_contexts import Context, Conversation
from trilithon.wire.exchange import TlsFacts

_VERSIONS = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 3: the short names that everybody must know. Other attributes go by their long names, as in RFC 4519.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED = frozenset('"+,;<>\\')
_UTF8_STRING = 0x0C


def gather_facts(conversation: Conversation) -> TlsFacts:
    """Return what both ends agreed on; to be called once the handshake is done."""
    facts = TlsFacts()
    context = conversation.context
    assert isinstance(context, Context)
    version = conversation.version()
    if version is not None:
        facts.version_name = version
        facts.version = _VERSIONS.get(version)
    cipher = conversation.cipher()
    if cipher is not None:
        facts.cipher_name = cipher[0]
        facts.cipher = context.numbers.get(cipher[0])
    if context.leaf is not None:
        facts.server_cert = context.leaf.pem
    facts.server_name = conversation.wanted
    facts.alpn = conversation.selected_alpn_protocol()
    if context.asks:
        chain = client_chain(conversation)
        if chain:
            facts.client_chain = chain
            subject = (conversation.getpeercert() or {}).get("subject", ())
            facts.client_name = distinguished_name(subject)  # type: ignore[arg-type]
    return facts


def client_chain(conversation: Conversation) -> tuple[str, ...]:
    """Return what the client sent to prove who it is as PEM texts, its own certificate first; empty for nothing."""
    own = conversation.getpeercert(True)
    if not own:
        # Not asked for the chain then: Python 3.13.0 raises where there is none.
        return ()
    # Public from Python 3.13 on; before, and in a resumed session, the client's own certificate is all there is.
    unverified = getattr(conversation, "get_unverified_chain", None)
    chain = (unverified() if unverified is not None else None) or [own]
    return tuple(ssl.DER_cert_to_PEM_cert(each) for each in chain)


def distinguished_name(subject: Iterable[Iterable[tuple[str, str]]]) -> str:
    """Write a subject, as `getpeercert` gives it, as RFC 4514 says: most significant part last."""
    parts = ["+".join(_attribute(kind, value) for kind, value in part) for part in subject]
    return ",".join(reversed(parts))


def _attribute(kind: str, value: str) -> str:
    if kind[:1].isdigit():
        # RFC 4514 2.4: the value of an attribute without a name is written as the octets of its encoding.
        octets = value.encode()
        size = len(octets)
        length = bytes((size,)) if size < 0x80 else bytes((0x80 | (size.bit_length() + 7) // 8,))
        if size >= 0x80:
            length += size.to_bytes((size.bit_length() + 7) // 8, "big")
        return f"{kind}=#{(bytes((_UTF8_STRING,)) + length + octets).hex()}"
    return f"{_ATTRIBUTES.get(kind, kind)}={_escaped(value)}"


def _escaped(value: str) -> str:
    """Escape a value as RFC 4514 2.4 says."""
    text = "".join("\\" + each if each in _ESCAPED else "\\00" if each == "\0" else each for each in value)
    if text[:1] in (" ", "#"):
        text = "\\" + text
    if text.endswith(" ") and text != "\\ ":
        text = text[:-1] + "\\ "
    return text
