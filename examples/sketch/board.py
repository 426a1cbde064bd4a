"""What is on the board and who draws on it: pure bookkeeping, bounded in every direction."""

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Any

# The board's own units; every page scales them to its size.
WIDTH = 1500
HEIGHT = 1200
COLOURS = 8
WIDTHS = (4, 9, 20)

MAX_ARTISTS = 100
MAX_POINTS = 60_000
MAX_STROKES = 4_000
MAX_POINTS_OF_STROKE = 1_500
MAX_POINTS_OF_MESSAGE = 300
MAX_UNREAD_MESSAGES = 512
# Above this many unread messages nobody's cursor is worth another one.
MAX_UNREAD_CURSORS = 48

NAMES = ("Otter", "Heron", "Badger", "Wren", "Lynx", "Newt", "Ibex", "Moth", "Seal", "Stoat", "Finch", "Hare")


class Full(Exception):
    """There are as many artists as the board can bear."""


class Artist:
    """One connection that draws."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = NAMES[(number - 1) % len(NAMES)]
        self.unread: asyncio.Queue[str] = asyncio.Queue(MAX_UNREAD_MESSAGES)
        self.overrun = asyncio.Event()

    def tell(self, text: str) -> None:
        """Put `text` into the queue, never waiting; who has let it run full is given up and may come back."""
        try:
            self.unread.put_nowait(text)
        except asyncio.QueueFull:
            self.overrun.set()


class Stroke:
    """One line: its colour and width as numbers of the palette, and its points as x, y, x, y and so on."""

    __slots__ = ("artist", "colour", "key", "points", "width")

    def __init__(self, key: str, artist: int, colour: int, width: int) -> None:
        self.key = key
        self.artist = artist
        self.colour = colour
        self.width = width
        self.points: list[int] = []


class Board:
    """The strokes in the order they were begun, and the artists; the oldest strokes go when there are too many."""

    def __init__(self) -> None:
        self.strokes: dict[str, Stroke] = {}
        self.artists: dict[int, Artist] = {}
        self.numbers = itertools.count(1)
        self.points = 0

    def enter(self) -> Artist:
        """Let an artist in, show the board as it is, and tell everybody."""
        if len(self.artists) >= MAX_ARTISTS:
            raise Full
        artist = Artist(next(self.numbers))
        self.artists[artist.number] = artist
        strokes = [[each.key, each.colour, each.width, each.points] for each in self.strokes.values()]
        artist.tell(encode({"kind": "board", "you": artist.number, "strokes": strokes}))
        self.introduce()
        return artist

    def leave(self, artist: Artist) -> None:
        """Let an artist go; what was drawn stays."""
        del self.artists[artist.number]
        self.introduce()

    def introduce(self) -> None:
        """Tell everybody who is there."""
        artists = [{"number": each.number, "name": each.name} for each in self.artists.values()]
        self.tell_all({"kind": "artists", "artists": artists})

    def take(self, artist: Artist, message: dict[str, Any]) -> None:
        """Do what an artist wants; what makes no sense is passed over."""
        match message:
            case {"kind": "begin", "stroke": int(number), "colour": int(colour), "width": int(width), "at": [x, y]}:
                if 0 <= colour < COLOURS and 0 <= width < len(WIDTHS):
                    self.begin(artist, number, (colour, width), [x, y])
            case {"kind": "draw", "stroke": int(number), "points": [*points]}:
                self.draw(artist, number, points)
            case {"kind": "cursor", "at": [x, y]}:
                self.point(artist, [x, y])
            case {"kind": "undo"}:
                own = [each.key for each in self.strokes.values() if each.artist == artist.number]
                self.erase(own[-1:])
            case {"kind": "clear"}:
                self.erase(list(self.strokes))

    def begin(self, artist: Artist, number: int, look: tuple[int, int], at: list[Any]) -> None:
        """Begin a stroke; its first point is `at`."""
        stroke = Stroke(f"{artist.number}.{number}", artist.number, *look)
        stroke.points = inside(at)
        if len(stroke.points) != 2 or stroke.key in self.strokes:
            return
        self.strokes[stroke.key] = stroke
        self.points += 1
        content = {"kind": "begin", "stroke": stroke.key, "colour": look[0], "width": look[1], "at": stroke.points}
        self.tell_all(content, artist)
        self.make_room()

    def draw(self, artist: Artist, number: int, points: list[Any]) -> None:
        """Carry a stroke on."""
        stroke = self.strokes.get(f"{artist.number}.{number}")
        added = inside(points[: 2 * MAX_POINTS_OF_MESSAGE])
        if stroke is None or not added or len(stroke.points) + len(added) > 2 * MAX_POINTS_OF_STROKE:
            return
        stroke.points += added
        self.points += len(added) // 2
        self.tell_all({"kind": "draw", "stroke": stroke.key, "points": added}, artist)
        self.make_room()

    def point(self, artist: Artist, at: list[Any]) -> None:
        """Show where an artist's pointer is to those who can keep up."""
        place = inside(at)
        if not place:
            return
        text = encode({"kind": "cursor", "artist": artist.number, "at": place})
        for each in self.artists.values():
            if each is not artist and each.unread.qsize() < MAX_UNREAD_CURSORS:
                each.tell(text)

    def make_room(self) -> None:
        """Give up the oldest strokes while there is too much on the board."""
        gone: list[str] = []
        points, strokes = self.points, len(self.strokes)
        for stroke in self.strokes.values():
            if points <= MAX_POINTS and strokes <= MAX_STROKES:
                break
            points -= len(stroke.points) // 2
            strokes -= 1
            gone.append(stroke.key)
        self.erase(gone)

    def erase(self, keys: list[str]) -> None:
        """Take strokes away, everywhere."""
        if not keys:
            return
        for key in keys:
            self.points -= len(self.strokes.pop(key).points) // 2
        self.tell_all({"kind": "erase", "strokes": keys} if self.strokes else {"kind": "wiped"})

    def tell_all(self, message: dict[str, Any], but: Artist | None = None) -> None:
        """Tell everybody, the one who did it perhaps left out."""
        # One text for all, so that the server frames and compresses it once.
        text = encode(message)
        for each in self.artists.values():
            if each is not but:
                each.tell(text)


def inside(numbers: Iterable[Any]) -> list[int]:
    """Return pairs of coordinates as whole numbers within the board; empty when they are anything else."""
    found = list(numbers)
    # A bool is an int to Python, and no place on a board.
    if len(found) % 2 or not all(type(each) is int for each in found):
        return []
    return [min(max(each, 0), HEIGHT if index % 2 else WIDTH) for index, each in enumerate(found)]


def encode(message: dict[str, Any]) -> str:
    """Return a message as it goes to the page."""
    return json.dumps(message, separators=(",", ":"))
