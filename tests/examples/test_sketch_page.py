"""The sketch in a real browser: two windows draw on one board, late ones see it, and it outlives a lost connection."""

import pytest
from browser import Window
from selenium.webdriver import ActionChains

pytestmark = [pytest.mark.real, pytest.mark.once]

# How opaque the board is at a place that is given as parts of its width and height.
INK = """
const canvas = document.getElementById("canvas");
const pen = canvas.getContext("2d");
const [x, y] = [arguments[0] * canvas.width, arguments[1] * canvas.height];
return pen.getImageData(Math.round(x), Math.round(y), 1, 1).data[3];
"""


@pytest.fixture
def sketch(serve_example):
    """Serve the sketch."""
    return serve_example("sketch.app:app")


def draw(window: Window, start: tuple[float, float], *stops: tuple[float, float]) -> None:
    """Drag the pointer over the board, from place to place in parts of its width and height."""
    canvas = window.one("#canvas")
    size = canvas.size
    places = [(round((x - 0.5) * size["width"]), round((y - 0.5) * size["height"])) for x, y in (start, *stops)]
    actions = ActionChains(window.go(), duration=20).move_to_element_with_offset(canvas, *places[0]).click_and_hold()
    for place in places[1:]:
        actions.move_to_element_with_offset(canvas, *place)
    actions.release().perform()


def until_ink(window: Window, x: float, y: float, there: bool = True) -> None:
    """Wait until the board is drawn on at a place, or no longer is."""
    window.until(lambda _: (window.run(INK, x, y) > 0) == there, f"ink at {x}, {y}: {there}")


def test_two_windows_draw_together(sketch, open_window):
    first = open_window(sketch.url)
    first.until_data("state", "open")
    second = open_window(sketch.url)
    first.until_data("artists", "2")

    draw(first, (0.2, 0.3), (0.4, 0.3), (0.6, 0.3))
    until_ink(second, 0.5, 0.3)
    draw(second, (0.3, 0.6), (0.3, 0.8))
    until_ink(first, 0.3, 0.7)
    assert first.data("strokes") == second.data("strokes") == "2"
    # The pointer of the second window stands where it drew, under its own name.
    cursor = first.one(".cursor:not(.idle)")
    assert cursor.text == "Heron"
    x, y = (int(part) for part in cursor.get_attribute("data-at").split(","))
    assert abs(x - 450) < 15
    assert 700 < y < 975

    late = open_window(sketch.url)
    until_ink(late, 0.5, 0.3)
    until_ink(late, 0.3, 0.7)
    second.one("#undo").click()
    until_ink(first, 0.3, 0.7, there=False)
    until_ink(first, 0.5, 0.3)
    first.one("#clear").click()
    first.until_text("#clear", "For all?")
    first.one("#clear").click()
    for window in (first, second, late):
        window.until_data("strokes", "0")


def test_a_page_that_comes_back_draws_on(sketch, open_window):
    first = open_window(sketch.url)
    first.until_data("state", "open")
    second = open_window(sketch.url)
    first.until_data("artists", "2")
    draw(first, (0.2, 0.3), (0.6, 0.3))
    until_ink(second, 0.4, 0.3)

    sketch.stop()
    for window in (first, second):
        window.until_data("code", "1012")
    sketch.start()
    for window in (first, second):
        window.until_data("state", "open")
        window.until_data("artists", "2")
        # The board lived in the process that ended; both pages show the new one.
        window.until_data("strokes", "0")
    draw(second, (0.5, 0.5), (0.7, 0.5))
    until_ink(first, 0.6, 0.5)
