"""Priorities (RFC 9218): what a client asks for, and whose turn it is to send."""

import re

from trilithon.wire.h2_stream import Stream

LEVELS = 8
DEFAULT_URGENCY = 3
# A field longer than this asks for nothing that we know.
MAX_PRIORITY_BYTES = 256
MAX_KNOWN_PRIORITIES = 256

KEY = rb"[a-z*][a-z0-9_.*-]*"
ITEM = (
    rb"(?:-?[0-9]{1,12}\.[0-9]{1,3}|-?[0-9]{1,15}|\"(?:[ !#-\[\]-~]|\\[\"\\])*\""
    rb"|[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*|:[A-Za-z0-9+/=]*:|\?[01])"
)
PARAMETERS = rb"(?:; *" + KEY + rb"(?:=" + ITEM + rb")?)*"
INNER_LIST = rb"\( *(?:" + ITEM + PARAMETERS + rb"(?: +|(?=\))))*\)"
MEMBER = re.compile(rb"(" + KEY + rb")(?:=(" + ITEM + rb"|" + INNER_LIST + rb"))?" + PARAMETERS)
COMMA = re.compile(rb"[ \t]*,[ \t]*")

KNOWN_PRIORITIES: dict[bytes, int] = {}


def pack_priority(urgency: int, incremental: bool) -> int:
    """Return a priority as one number: twice the urgency, and one for incremental."""
    return 2 * urgency + incremental


DEFAULT_PRIORITY = pack_priority(DEFAULT_URGENCY, False)


def read_priority(value: bytes) -> int:
    """Return the priority that a field value asks for; what cannot be read asks for nothing (RFC 9218 4)."""
    known = KNOWN_PRIORITIES.get(value)
    if known is None:
        known = parse_priority(value)
        if len(KNOWN_PRIORITIES) < MAX_KNOWN_PRIORITIES and len(value) <= 32:
            KNOWN_PRIORITIES[value] = known
    return known


def parse_priority(value: bytes) -> int:
    """Parse a dictionary of structured fields (RFC 9651 4.2.2) for `u` and `i`; the last of several counts."""
    value = value.strip(b" ")
    members: dict[bytes, bytes | None] = {}
    place = 0
    if not value or len(value) > MAX_PRIORITY_BYTES:
        return DEFAULT_PRIORITY
    while True:
        member = MEMBER.match(value, place)
        if member is None:
            return DEFAULT_PRIORITY
        members[member.group(1)] = member.group(2)
        place = member.end()
        if place == len(value):
            break
        comma = COMMA.match(value, place)
        if comma is None:
            return DEFAULT_PRIORITY
        place = comma.end()
    asked = members.get(b"u") or b""
    urgency = int(asked) if len(asked) == 1 and asked in b"01234567" else DEFAULT_URGENCY
    incremental = b"i" in members and members[b"i"] in (None, b"?1")
    return pack_priority(urgency, incremental)


class Schedule:
    """The streams that could send now, by urgency; each stream is in it once at most.

    At one urgency streams that want all at once come in the order they were opened, and stay until they have sent all
    or their window is closed; incremental ones take turns (RFC 9218 10). No list is longer than there are streams.
    Tunnels, which may never have sent all, take turns among themselves and with all others (RFC 9218 11).
    """

    def __init__(self) -> None:
        self.levels: list[list[Stream]] = [[] for _ in range(LEVELS)]
        self.tunnels: list[Stream] = []
        self.tunnel_next = False
        self.count: int = 0

    def add(self, stream: Stream) -> None:
        """Put a stream in, unless it is in."""
        if stream.ready:
            return
        stream.ready = True
        self.count += 1
        if stream.tunnel:
            self.tunnels.append(stream)
            return
        level = self.levels[stream.priority >> 1]
        place = len(level)
        if not stream.priority & 1:
            while place and (level[place - 1].priority & 1 or level[place - 1].stream_id > stream.stream_id):
                place -= 1
        level.insert(place, stream)

    def first(self) -> Stream | None:
        """Return the stream whose turn it is now, None when there is none."""
        tunnels = self.tunnels
        if tunnels:
            self.tunnel_next = not self.tunnel_next
            if self.tunnel_next or self.count == len(tunnels):
                return tunnels[0]
        if self.count:
            for level in self.levels:
                if level:
                    return level[0]
        return None

    def rotate(self, stream: Stream) -> None:
        """The stream whose turn it was has sent a frame: an incremental one goes behind the others."""
        if stream.tunnel:
            self.tunnels.remove(stream)
            self.tunnels.append(stream)
        elif stream.priority & 1:
            level = self.levels[stream.priority >> 1]
            if len(level) > 1:
                level.remove(stream)
                level.append(stream)

    def remove(self, stream: Stream) -> None:
        """Take a stream out; idempotent."""
        if stream.ready:
            stream.ready = False
            self.count -= 1
            if stream.tunnel:
                self.tunnels.remove(stream)
                return
            self.levels[stream.priority >> 1].remove(stream)

    def reprioritize(self, stream: Stream, priority: int) -> None:
        """Change the priority of a stream, wherever it is."""
        ready = stream.ready
        self.remove(stream)
        stream.priority = priority
        if ready:
            self.add(stream)
