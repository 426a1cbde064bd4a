"""A made-up market whose prices depend on the number of the tick alone, so that any process can continue any stream."""

import json
import math
import time
from functools import lru_cache

TICK_S = 0.25
# What a reader that comes back can be told at most; the page shows as much.
MEMORY_TICKS = 480

# Symbol: the first price, how much it swings, and where in the noise it lies.
STONES = {
    "SARSEN": (184.0, 0.10, 11),
    "BLUE": (97.5, 0.16, 23),
    "ALTAR": (132.0, 0.13, 37),
    "SLAB": (61.0, 0.08, 53),
}
# Swings of these lengths in ticks, with their share of the whole.
WAVES = ((1900, 0.46), (420, 0.26), (96, 0.15), (23, 0.07), (6, 0.04), (1.7, 0.02))


def current() -> int:
    """Return the number of the tick that is due now."""
    return int(time.time() / TICK_S)


def seconds_until(number: int) -> float:
    """Return how long it is until a tick is due; 0 when it is."""
    return max(0.0, number * TICK_S - time.time())


def price(symbol: str, number: int) -> float:
    """Return the price of a stone at a tick."""
    first, swing, place = STONES[symbol]
    drift = sum(share * noise(number / ticks + place * 1000, place) for ticks, share in WAVES)
    return round(first * (1 + swing * drift), 2)


def noise(at: float, place: int) -> float:
    """Return a value between -1 and 1: random at whole numbers, and smooth on the way from one to the next."""
    left = math.floor(at)
    part = at - left
    smooth = part * part * (3 - 2 * part)
    return scatter(left, place) * (1 - smooth) + scatter(left + 1, place) * smooth


def scatter(number: int, place: int) -> float:
    """Return a value between -1 and 1 that looks random but is the same for the same numbers in every process."""
    mixed = (number * 0x9E3779B1 + place * 0x85EBCA77) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return (mixed ^ (mixed >> 15)) / 0x7FFFFFFF - 1


@lru_cache(maxsize=MEMORY_TICKS * 2)
def event(number: int) -> bytes:
    """Return a tick as a server-sent event; all readers get the same object."""
    prices = {symbol: price(symbol, number) for symbol in STONES}
    data = json.dumps({"at": number * TICK_S, "prices": prices}, separators=(",", ":"))
    return f"id: {number}\ndata: {data}\n\n".encode()


def missed(last: int, now: int) -> list[int]:
    """Return the numbers of the ticks that a reader has missed who saw `last`, as far as the memory goes."""
    return list(range(max(last + 1, now - MEMORY_TICKS + 1), now + 1))
