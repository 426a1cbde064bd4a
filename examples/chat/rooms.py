"""Who is in which room and what was said there; pure bookkeeping with one outgoing queue for each connection."""

import asyncio
import itertools
import json
import time
from collections import deque
from typing import Any

MAX_NAME_LENGTH = 24
MAX_ROOM_LENGTH = 32
MAX_TEXT_LENGTH = 2000
MAX_ROOMS = 200
MAX_MEMBERS = 500
HISTORY_MESSAGES = 60
# What a connection may leave unread before it is closed: it has to be more than the liveliest room says in a moment.
MAX_UNREAD_MESSAGES = 256
# A burst of this many messages may be said at once, then so many a second.
BURST_MESSAGES = 8
MESSAGES_PER_S = 2.0

STANDING_ROOMS = ("lobby", "kitchen", "workshop")
# Numbers of messages begin anew with the process; by this the page knows that they did.
EPOCH = f"{time.time_ns():x}"


class Refusal(Exception):
    """Somebody cannot come in; its text says why, `code` is the close code that tells whether trying again helps."""

    def __init__(self, text: str, code: int = 1008) -> None:
        super().__init__(text)
        self.code = code


class Member:
    """One connection in a room; several with the same name are one person with several tabs."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.unread: asyncio.Queue[str] = asyncio.Queue(MAX_UNREAD_MESSAGES)
        self.overrun = asyncio.Event()
        self.allowance = float(BURST_MESSAGES)
        self.counted_s = time.monotonic()

    def tell(self, text: str) -> None:
        """Put `text` into the queue, never waiting; who has let it run full is given up."""
        try:
            self.unread.put_nowait(text)
        except asyncio.QueueFull:
            self.overrun.set()

    def may_speak(self) -> bool:
        """Count one message against what this connection may say; False when it says too much."""
        now_s = time.monotonic()
        earned = (now_s - self.counted_s) * MESSAGES_PER_S
        self.counted_s = now_s
        self.allowance = min(float(BURST_MESSAGES), self.allowance + earned)
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True


class Room:
    """A room: its members and the last messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: list[Member] = []
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY_MESSAGES)
        self.numbers = itertools.count(1)

    @property
    def people(self) -> list[str]:
        """The names of those present, each once, in the order they came."""
        return list(dict.fromkeys(member.name for member in self.members))

    def enter(self, member: Member) -> None:
        """Let a member in and tell everybody, unless the same person is there in another tab."""
        if len(self.members) >= MAX_MEMBERS:
            raise Refusal("the room is full", 1013)
        known = member.name in self.people
        self.members.append(member)
        welcome = {"kind": "welcome", "epoch": EPOCH, "room": self.name, "you": member.name}
        member.tell(encode({**welcome, "people": self.people, "history": list(self.history)}))
        if not known:
            self.announce("joined", member)

    def leave(self, member: Member) -> None:
        """Let a member out and tell everybody, unless the same person stays in another tab."""
        self.members.remove(member)
        if member.name not in self.people:
            self.announce("left", member)

    def announce(self, kind: str, member: Member) -> None:
        """Tell the others that somebody came or went."""
        text = encode({"kind": kind, "name": member.name, "people": self.people, "at": time.time()})
        for each in self.members:
            if each is not member:
                each.tell(text)

    def say(self, member: Member, text: str, ref: str) -> None:
        """Let everybody hear what a member says, the speaker too; `ref` is the speaker's own mark on it."""
        said = {"kind": "said", "number": next(self.numbers), "name": member.name, "text": text, "at": time.time()}
        said["ref"] = ref
        self.history.append(said)
        # One text for all, so that the server frames and compresses it once.
        shared = encode(said)
        for each in self.members:
            each.tell(shared)

    def typing(self, member: Member) -> None:
        """Let the others see that a member is writing; not worth a place in a long queue."""
        text = encode({"kind": "typing", "name": member.name})
        for each in self.members:
            if each is not member and each.unread.qsize() < MAX_UNREAD_MESSAGES // 4:
                each.tell(text)


class House:
    """All rooms; the standing ones stay, the others go when there are too many and nobody is in them."""

    def __init__(self) -> None:
        self.rooms = {name: Room(name) for name in STANDING_ROOMS}

    def room(self, name: str) -> Room:
        """Return the room of that name, made when there is none."""
        name = name.strip().lower()
        if not name or len(name) > MAX_ROOM_LENGTH or not name.isprintable():
            raise Refusal(f"a room has a name of 1 to {MAX_ROOM_LENGTH} characters")
        if name not in self.rooms and len(self.rooms) >= MAX_ROOMS:
            idle = [each for each in self.rooms.values() if not each.members and each.name not in STANDING_ROOMS]
            if not idle:
                raise Refusal("there are too many rooms", 1013)
            del self.rooms[idle[0].name]
        return self.rooms.setdefault(name, Room(name))

    def listing(self) -> list[dict[str, Any]]:
        """Return the rooms with how many people are in each, the liveliest first behind the standing ones."""
        rooms = [{"name": room.name, "people": len(room.people)} for room in self.rooms.values()]
        standing, others = rooms[: len(STANDING_ROOMS)], rooms[len(STANDING_ROOMS) :]
        return standing + sorted(others, key=lambda room: -int(str(room["people"])))[:20]


def member(name: str) -> Member:
    """Return a new member; raises Refusal for a name that cannot be shown."""
    name = " ".join(name.split())
    if not name or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise Refusal(f"a name has 1 to {MAX_NAME_LENGTH} characters")
    return Member(name)


def encode(message: dict[str, Any]) -> str:
    """Return a message as it goes to the page."""
    # Escaped to ASCII: half of a surrogate pair, which a page may send, could not go out as UTF-8.
    return json.dumps(message, separators=(",", ":"))
