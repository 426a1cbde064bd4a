"""The bookkeeping of the chat and of the sketch: slow readers are given up, and nothing grows without bound."""

import asyncio
import json
from typing import Any

import pytest
from examples.chat import app as chat
from examples.chat import rooms
from examples.sketch import board as boards
from examples.ticker import market

pytestmark = pytest.mark.once

DEADLINE_S = 10


def told(member: rooms.Member | boards.Artist) -> list[dict[str, Any]]:
    """Take what waits for a member out of the queue."""
    return [json.loads(member.unread.get_nowait()) for _ in range(member.unread.qsize())]


def test_a_slow_reader_is_given_up_and_the_others_hear_everything():
    room = rooms.Room("lobby")
    slow, quick = rooms.member("Slow"), rooms.member("Quick")
    room.enter(slow)
    room.enter(quick)
    heard = []
    for number in range(rooms.MAX_UNREAD_MESSAGES + 10):
        room.say(quick, f"message {number}", "")
        heard += [each["text"] for each in told(quick) if each["kind"] == "said"]
    assert heard == [f"message {number}" for number in range(rooms.MAX_UNREAD_MESSAGES + 10)]
    assert slow.overrun.is_set()
    assert slow.unread.qsize() == rooms.MAX_UNREAD_MESSAGES
    assert not quick.overrun.is_set()


def test_everybody_is_told_the_same_text():
    room = rooms.Room("lobby")
    members = [rooms.member(name) for name in ("A", "B", "C")]
    for member in members:
        room.enter(member)
        told(member)
    for member in members:
        told(member)
    room.say(members[0], "hello", "mark")
    first, *others = [member.unread.get_nowait() for member in members]
    assert all(each is first for each in others), "one object, so that the server prepares it once"


def test_who_says_too_much_is_hushed():
    member = rooms.member("Ada")
    spoken = sum(member.may_speak() for _ in range(rooms.BURST_MESSAGES * 3))
    assert spoken == rooms.BURST_MESSAGES


@pytest.mark.parametrize("name", ["", "   ", "x" * 25, "a\u0000b", "a\u202eb", "\ud800"])
def test_names_that_cannot_be_shown_are_refused(name):
    with pytest.raises(rooms.Refusal):
        rooms.member(name)


def test_rooms_that_nobody_is_in_make_place_for_others():
    house = rooms.House()
    for number in range(rooms.MAX_ROOMS * 2):
        house.room(f"room {number}")
    assert len(house.rooms) == rooms.MAX_ROOMS
    assert set(rooms.STANDING_ROOMS) <= set(house.rooms)
    for room in list(house.rooms.values()):
        room.enter(rooms.member("Sitter"))
    with pytest.raises(rooms.Refusal) as refusal:
        house.room("one more")
    assert refusal.value.code == 1013


class Connection:
    """One end of a chat's socket in memory: what the application is given, and what it sends."""

    def __init__(self, name: str, reads: bool) -> None:
        self.scope = {
            "type": "websocket",
            "path": "/rooms/lobby/socket",
            "query_string": f"name={name}".encode(),
            "headers": [],
            "subprotocols": [],
            "asgi": {"version": "3.0"},
        }
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = reads

    async def send(self, message: dict[str, Any]) -> None:
        """Take what the application sends; of a client that does not read, nothing goes on after the acceptance."""
        if not self.reads and message["type"] != "websocket.accept":
            await asyncio.get_running_loop().create_future()
        self.sent.put_nowait(message)

    async def said(self) -> str:
        """Return the next thing that somebody says."""
        while True:
            content = json.loads((await self.sent.get()).get("text") or "{}")
            if content.get("kind") == "said":
                return str(content["text"])


def test_a_connection_that_does_not_read_delays_nobody_and_ends(monkeypatch):
    monkeypatch.setattr(chat, "CLOSE_TIMEOUT_S", 0.01)

    async def talk() -> None:
        stuck, quick = Connection("Stuck", reads=False), Connection("Quick", reads=True)
        running = [
            asyncio.create_task(chat.app(each.scope, each.incoming.get, each.send))  # type: ignore[arg-type]
            for each in (stuck, quick)
        ]
        room = chat.house.rooms["lobby"]
        while len(room.members) < 2:
            await asyncio.sleep(0)
        speaker = room.members[1]
        for number in range(rooms.MAX_UNREAD_MESSAGES + 5):
            room.say(speaker, str(number), "")
            assert await quick.said() == str(number)
        await running[0]
        assert room.people == ["Quick"]
        quick.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        await running[1]
        assert room.people == []

    asyncio.run(asyncio.wait_for(talk(), DEADLINE_S))


def test_the_board_gives_up_its_oldest_strokes():
    board = boards.Board()
    artist = board.enter()
    for number in range(80):
        board.take(artist, {"kind": "begin", "stroke": number, "colour": 0, "width": 0, "at": [1, 2]})
        for _ in range(4):
            board.take(artist, {"kind": "draw", "stroke": number, "points": [5, 6] * boards.MAX_POINTS_OF_MESSAGE})
        told(artist)
    assert board.points == sum(len(stroke.points) // 2 for stroke in board.strokes.values())
    assert boards.MAX_POINTS - 1500 < board.points <= boards.MAX_POINTS
    assert list(board.strokes) == [f"1.{number}" for number in range(80 - len(board.strokes), 80)]


def test_a_stroke_ends_somewhere_and_stays_on_the_board():
    board = boards.Board()
    artist = board.enter()
    board.take(artist, {"kind": "begin", "stroke": 1, "colour": 0, "width": 0, "at": [-50, 99999]})
    for _ in range(20):
        board.take(artist, {"kind": "draw", "stroke": 1, "points": [9999, -1] * boards.MAX_POINTS_OF_MESSAGE})
    points = board.strokes["1.1"].points
    assert points[:4] == [0, boards.HEIGHT, boards.WIDTH, 0]
    assert len(points) // 2 <= boards.MAX_POINTS_OF_STROKE


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "begin"},
        {"kind": "begin", "stroke": 2, "colour": 8, "width": 0, "at": [1, 1]},
        {"kind": "begin", "stroke": 2, "colour": 0, "width": -1, "at": [1, 1]},
        {"kind": "begin", "stroke": 2, "colour": 0, "width": 0, "at": [1.5, True]},
        {"kind": "begin", "stroke": 1, "colour": 0, "width": 0, "at": [1, 1]},
        {"kind": "draw", "stroke": 7, "points": [1, 1]},
        {"kind": "draw", "stroke": 1, "points": [1]},
        {"kind": "draw", "stroke": 1, "points": [1, None]},
        {"kind": "draw", "stroke": 1, "points": "1,1"},
        {"kind": "cursor", "at": [1]},
        {"kind": "cursor", "at": ["x", []]},
        {"kind": ["undo"]},
    ],
)
def test_what_makes_no_sense_changes_nothing(message):
    board = boards.Board()
    artist, other = board.enter(), board.enter()
    board.take(artist, {"kind": "begin", "stroke": 1, "colour": 0, "width": 0, "at": [1, 1]})
    told(other)
    board.take(artist, message)
    assert told(other) == []
    assert board.points == 1


def test_cursors_are_left_out_for_who_cannot_keep_up():
    board = boards.Board()
    artist, slow = board.enter(), board.enter()
    for x in range(1000):
        board.take(artist, {"kind": "cursor", "at": [x, 1]})
    assert slow.unread.qsize() == boards.MAX_UNREAD_CURSORS
    assert not slow.overrun.is_set()


def test_the_market_can_be_continued_by_anybody():
    now = market.current()
    assert market.missed(now - 3, now) == [now - 2, now - 1, now]
    assert market.missed(now, now) == []
    assert market.missed(now + 5, now) == []
    assert len(market.missed(0, now)) == market.MEMORY_TICKS
    # Known values, so that another version of the code does not tell another past.
    assert [market.price("SARSEN", number) for number in (0, 1, 7_000_000_000)] == [188.4, 188.07, 181.25]
    steps = [abs(market.price("BLUE", n + 1) - market.price("BLUE", n)) for n in range(2000)]
    assert 0 < max(steps) < 2
