"""The demo site in a real browser: both parts answer, the ticker runs, and two windows chat."""

import re
from collections.abc import Iterator

import pytest
from example_server import ROOT, ExampleServer

pytestmark = [pytest.mark.real, pytest.mark.once]

MOUNTS = re.findall(r'^    "(/.*=.*:app)",$', (ROOT / "scripts" / "demo").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
def demo() -> Iterator[ExampleServer]:
    """Serve the demo with the mounts that scripts/demo gives it."""
    server = ExampleServer([word for mount in MOUNTS for word in ("--mount", mount)], {})
    yield server
    server.close()


def test_the_demo_is_alive(demo, open_window):
    first = open_window(demo.url)
    first.until_text("#verdict", "No.")
    second = open_window(demo.url)
    for window in (first, second):
        window.until_text("#ticker-state", "connected")
        window.until_text("#stone-price", ".")
        window.until_text("#chat-people", "2")
    before = first.one("#stone-chart").get_attribute("data-last")
    first.one("#chat-text").send_keys("Hello from the first\n")
    second.until_text("#chat-log", "Hello from the first")
    second.one("#chat-text").send_keys("and from the second\n")
    first.until_text("#chat-log", "and from the second")
    first.until(lambda _: first.one("#stone-chart").get_attribute("data-last") > before, "another tick")
    for width in (360, 1280):
        first.resize(width, 800, "dark")
        wide, there = first.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= there

    demo.stop()
    demo.start()
    first.until_text("#chat-log", "The server restarted")
    first.until_text("#chat-state", "connected as")
    first.until_text("#ticker-state", "connected")
    ticked = first.one("#stone-chart").get_attribute("data-last")
    first.until(lambda _: first.one("#stone-chart").get_attribute("data-last") > ticked, "another tick")
