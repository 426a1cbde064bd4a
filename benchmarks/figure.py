"""Draw small line charts side by side as one SVG: a panel for each figure, a line for each series, by hand."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 1000, 470
TOP, BOTTOM = 150, 62
LEFT, GAP = 58, 96
"""The gap is where the values at the end of the lines stand."""
LABEL_HEIGHT = 14.0
DODGE = 7.0
"""So far aside stand the marks of neighbouring series where they have a reach, which would hide each other."""

STYLE = """\
text{font-family:system-ui,-apple-system,'Segoe UI','Liberation Sans',Arial,sans-serif;font-size:12.5px;fill:#57606a}
.title{font-size:19px;font-weight:600;fill:#1f2328}
.panel{font-size:14px;font-weight:600;fill:#1f2328}
.key{font-size:13.5px;fill:#1f2328}
.value{font-size:12.5px;font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}
.axis{stroke:#8c959f;stroke-width:1}
.line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}
.reach{stroke-width:5;stroke-linecap:round;opacity:.28}
.dot{stroke:#fff;stroke-width:1.5}"""


@dataclass(frozen=True)
class Series:
    """One line: its name and colour."""

    name: str
    colour: str


@dataclass(frozen=True)
class Panel:
    """One chart: for each series its values at the marks of the axis below, and how far upward each one reaches."""

    title: str
    note: str
    values: Sequence[Sequence[float]]
    reaches: Sequence[Sequence[float]] = ()
    is_logarithmic: bool = False
    unit: str = ""

    @property
    def most(self) -> float:
        """The largest value to be shown."""
        return max(max(row) for row in (*self.values, *self.reaches))


def ticks(panel: Panel) -> list[float]:
    """Return the values at which lines are drawn across a panel; the last is its top."""
    if panel.is_logarithmic:
        least = math.floor(math.log10(min(min(row) for row in panel.values)))
        return [10.0**power for power in range(least, math.ceil(math.log10(panel.most)) + 1)]
    raw = panel.most / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw)
    return [step * index for index in range(math.ceil(panel.most / step) + 1)]


def height_of(panel: Panel, value: float) -> float:
    """Return where a value lies between the bottom (0) and the top (1) of a panel."""
    marks = ticks(panel)
    if panel.is_logarithmic:
        least, most = math.log10(marks[0]), math.log10(marks[-1])
        return (math.log10(value) - least) / (most - least)
    return value / marks[-1]


def spread(places: Sequence[float]) -> list[float]:
    """Move labels apart that would lie on each other, as little as keeps their order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[tuple[list[int], float]] = []
    for index in order:
        members, middle = [index], places[index]
        while (
            groups and middle - len(members) * LABEL_HEIGHT / 2 < groups[-1][1] + len(groups[-1][0]) * LABEL_HEIGHT / 2
        ):
            members = groups.pop()[0] + members
            middle = sum(places[each] for each in members) / len(members)
        groups.append((members, middle))
    moved = list(places)
    for members, middle in groups:
        for rank, index in enumerate(members):
            moved[index] = middle + (rank - (len(members) - 1) / 2) * LABEL_HEIGHT
    return moved


def written(value: float, panel: Panel) -> str:
    """Write a value for people: milliseconds become seconds where those are shorter."""
    if panel.unit == "ms":
        return (
            f"{value / 1000:.0f} s"
            if value >= 10000
            else f"{value / 1000:.1f} s"
            if value >= 1000
            else f"{value:.0f} ms"
        )
    return f"{value:,.0f}"


def tick_text(value: float, panel: Panel) -> str:
    """Write the value of a tick."""
    if panel.unit == "ms":
        return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
    return f"{value:,.0f}"


def text(words: str, x: float, y: float, kind: str, anchor: str = "start", colour: str = "") -> str:
    """Return a text element."""
    fill = f' style="fill:{colour}"' if colour else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(words)}</text>'


def draw_panel(panel: Panel, series: Sequence[Series], marks: Sequence[str], left: float, width: float) -> list[str]:
    """Return the elements of one panel."""
    bottom, tall = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    places = [left + width * (0.06 + 0.88 * index / (len(marks) - 1)) for index in range(len(marks))]

    def y(value: float) -> float:
        return bottom - tall * height_of(panel, value)

    drawn = [text(panel.title, left, TOP - 38, "panel"), text(panel.note, left, TOP - 19, "note")]
    for value in ticks(panel):
        kind = "grid" if y(value) < bottom else "axis"
        drawn.append(f'<path class="{kind}" d="M{left:.1f} {y(value):.1f}h{width:.1f}"/>')
        drawn.append(text(tick_text(value, panel), left - 8, y(value) + 4, "tick", "end"))
    drawn += [text(mark, x, bottom + 20, "tick", "middle") for mark, x in zip(marks, places, strict=True)]
    drawn.append(text("clients", left + width / 2, bottom + 40, "tick", "middle"))
    aside = [(index - (len(series) - 1) / 2) * DODGE * bool(panel.reaches) for index in range(len(series))]
    for each, shift, lows, highs in zip(series, aside, panel.values, panel.reaches, strict=False):
        for x, low, high in zip(places, lows, highs, strict=True):
            drawn.append(
                f'<path class="reach" stroke="{each.colour}" d="M{x + shift:.1f} {y(low):.1f}V{y(high):.1f}"/>'
            )
    for each, shift, values in zip(series, aside, panel.values, strict=True):
        dots = [(x + shift, y(value)) for x, value in zip(places, values, strict=True)]
        points = " ".join(f"{x:.1f},{height:.1f}" for x, height in dots)
        drawn.append(f'<polyline class="line" stroke="{each.colour}" points="{points}"/>')
        drawn += [f'<circle class="dot" fill="{each.colour}" cx="{x:.1f}" cy="{h:.1f}" r="5"/>' for x, h in dots]
    lasts = [values[-1] for values in panel.values]
    for each, value, place in zip(series, lasts, spread([y(value) for value in lasts]), strict=True):
        drawn.append(
            text(written(value, panel), places[-1] + 13 + max(aside), place + 4.5, "value", "start", each.colour)
        )
    return drawn


def draw(title: str, panels: Sequence[Panel], series: Sequence[Series], marks: Sequence[str]) -> str:
    """Return the whole picture; `marks` name the places of the axis below every panel."""
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title, quote=True)}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#fff"/>',
        text(title, 24, 38, "title"),
    ]
    x = 24.0
    for each in series:
        drawn.append(f'<path class="line" stroke="{each.colour}" d="M{x:.1f} 64h22"/>')
        drawn.append(f'<circle class="dot" fill="{each.colour}" cx="{x + 11:.1f}" cy="64" r="5"/>')
        drawn.append(text(each.name, x + 30, 68.5, "key"))
        x += 56 + 7.3 * len(each.name)
    width = (WIDTH - LEFT - GAP * len(panels) + 28) / len(panels)
    for index, panel in enumerate(panels):
        drawn += draw_panel(panel, series, marks, LEFT + index * (width + GAP), width)
    return "\n".join([*drawn, "</svg>", ""])
