"""Every page of the examples fits a phone, can be read in both colour schemes and names what can be operated."""

import re

import pytest
from example_server import ROOT

pytestmark = [pytest.mark.real, pytest.mark.once]

EXAMPLES = ["chat", "ticker", "sketch", "sensors"]
TARGETS = {"sensors": "sensors.asgi:app"}

# What can be operated but has no name that a screen reader could say.
NAMELESS = """
return [...document.querySelectorAll("button, input, textarea, select, canvas, [role=region]")].filter((each) => {
  if (each.closest("[aria-hidden=true], [hidden]")) return false;
  const labels = [...(each.labels || [])].map((label) => label.textContent).join("");
  const words = [each.getAttribute("aria-label"), each.getAttribute("aria-labelledby"), labels, each.textContent];
  return !words.some((text) => text?.trim());
}).map((each) => each.outerHTML.slice(0, 120));
"""

# Texts that are too faint: less than 4.5 to 1 against the nearest opaque colour behind them.
FAINT = """
const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
function blend(colours) {
  paint.globalCompositeOperation = "source-over";
  for (const colour of colours) { paint.fillStyle = colour; paint.fillRect(0, 0, 1, 1); }
  return [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
function light(colour) {
  const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  const [r, g, b] = colour.map((part) => linear(part / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function behind(element) {
  const colours = [];
  for (let each = element; each; each = each.parentElement) colours.unshift(getComputedStyle(each).backgroundColor);
  return ["white", ...colours];
}
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = new Set();
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || element.closest("script, [hidden], :disabled")) continue;
  if (!element.checkVisibility({ opacityProperty: true }) || getComputedStyle(element).fontSize === "0px") continue;
  const back = behind(element);
  const [one, two] = [light(blend(back)), light(blend([...back, getComputedStyle(element).color]))];
  const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
  const words = walker.currentNode.textContent.slice(0, 30);
  if (ratio < 4.5) found.add(`${ratio.toFixed(2)} ${element.tagName} ${element.className} ${element.id}: ${words}`);
}
return [...found];
"""


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_page_fits_and_can_be_read(shared_example, serve_example, open_window, example, tmp_path):
    if example == "sensors":
        server = serve_example(TARGETS[example], SENSORS_DATABASE=str(tmp_path / "sensors.sqlite3"))
    else:
        server = shared_example(f"{example}.app:app")
    window = open_window(server.url)
    fill(window, example)
    assert window.run(NAMELESS) == []
    for width in (360, 768, 1400):
        for scheme in ("light", "dark"):
            window.resize(width, 800, scheme)
            wide, there = window.run("return [document.documentElement.scrollWidth, innerWidth]")
            assert wide <= there, f"{wide} px wide on a screen of {width}"
            assert window.run(FAINT) == [], f"{width} px, {scheme}"


def fill(window, example: str) -> None:
    """Bring the page to life, so that there is something to look at."""
    if example == "chat":
        window.one("#name").send_keys("Ada")
        window.one("#enter button").click()
        window.one("#text").send_keys("Hello\n")
        window.until_text(".said:not(.pending) p", "Hello")
    elif example == "sensors":
        window.one("#day").click()
        window.until_text(".card", "144 readings")
    else:
        window.until_data("state", "open")
        window.one("button")


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_comes_from_elsewhere(example):
    files = [*(ROOT / "examples" / example / "page").iterdir(), ROOT / "examples" / "line.js"]
    assert len(files) >= 4
    for path in files:
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", path.read_text(encoding="utf-8")))
        assert addresses <= {"http://www.w3.org"}, path


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_says_how_to_run_it(example):
    text = (ROOT / "examples" / example / "README.md").read_text(encoding="utf-8")
    assert f"$ trilithon --app-dir examples {TARGETS.get(example, example + '.app:app')}\n" in text
