"""The ticker in a real browser: the chart moves, and goes on without a gap after a restart of the server."""

import json

import httpx
import pytest
from browser import Window

pytestmark = [pytest.mark.real, pytest.mark.once]

# A digest of what the canvas shows.
PICTURE = """
const canvas = document.getElementById("chart");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let sum = 0;
for (let index = 0; index < data.length; index += 4) sum = (sum * 31 + data[index] + data[index + 3]) % 1000000007;
return sum;
"""

PRICES = """
const shown = (selector) => document.querySelector(selector).textContent;
return [shown(".tile:nth-child(3) .value"), shown("#price")];
"""


@pytest.fixture
def ticker(shared_example):
    """Serve the ticker."""
    return shared_example("ticker.app:app")


def ticks(window: Window) -> int:
    """Return how many ticks the page has received."""
    return int(window.data("ticks"))


def until_more(window: Window, count: int) -> None:
    """Wait until `count` more ticks have come."""
    wanted = ticks(window) + count
    window.until(lambda _: ticks(window) >= wanted, f"{wanted} ticks")


def test_the_chart_moves(ticker, open_window):
    window = open_window(ticker.url)
    window.until_data("state", "open")
    # The stream begins with what is already past, so the chart is full at once.
    window.until(lambda _: ticks(window) >= 480, "the past")
    window.until(lambda _: window.text("#price"), "a price")
    first = window.run(PICTURE)
    until_more(window, 2)
    window.until(lambda _: window.run(PICTURE) != first, "another picture")
    assert window.data("missing") == "0"
    window.one(".tile:nth-child(3)").click()
    window.until_text("#symbol", "ALTAR")
    # Read together: a tick between two readings would show two prices.
    tile, price = window.run(PRICES)
    assert tile == price


def test_the_chart_resumes_after_a_restart(serve_example, open_window):
    ticker = serve_example("ticker.app:app")
    window = open_window(ticker.url)
    window.until_data("state", "open")
    until_more(window, 2)
    ticker.stop()
    window.until_data("state", "waiting")
    ticker.start()
    window.until_data("state", "open")
    until_more(window, 4)
    assert window.data("missing") == "0"
    window.until(lambda _: int(window.data("resumed")) > 0, "ticks that were caught up")


def test_a_reader_gets_what_it_missed_and_nothing_twice(ticker):
    first = read_ticks(ticker.url, 490)
    assert [number for number, _ in first] == list(range(first[0][0], first[0][0] + 490))
    again = read_ticks(ticker.url, 6, {"last-event-id": str(first[-4][0])})
    assert again[:3] == first[-3:]
    by_query = read_ticks(f"{ticker.url}/events?after={first[-4][0]}", 3)
    assert by_query == first[-3:]


def test_a_stop_ends_the_stream_well(serve_example):
    ticker = serve_example("ticker.app:app")
    with httpx.stream("GET", f"{ticker.url}/events", timeout=10, trust_env=False) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 1000"
        ticker.stop()
        # A stream that is cut off instead of ended would raise here.
        assert [line for line in lines if line.startswith("id: ")]


def read_ticks(url: str, count: int, fields: dict[str, str] | None = None) -> list[tuple[int, dict]]:
    """Read that many events from the stream."""
    url = url if "/events" in url else f"{url}/events"
    found: list[tuple[int, dict]] = []
    number = 0
    with httpx.stream("GET", url, headers=fields, timeout=10, trust_env=False) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                found.append((number, json.loads(line[6:])))
                if len(found) == count:
                    return found
    raise AssertionError(f"the stream ended after {len(found)} events")
