"""Write what the sensors example found into docs/choosing.md, as a table and a picture."""

from pathlib import Path

from benchmarks.claim_cases import CLAIM_CASES, CLIENTS
from benchmarks.figure import Panel, Series, draw
from benchmarks.results import Results
from benchmarks.tables import number, table

BEGIN, END = (
    "<!-- Measured figures, written by scripts/bench; do not edit. -->",
    "<!-- End of the measured figures. -->",
)

# Blues for the threads, the more the darker, so that the one line of the other kind stands out.
LINES = (
    (Series("ASGI", "#d9480f"), "claim-asgi", "trilithon"),
    (Series("WSGI, 64 threads", "#0b3d91"), "claim-wsgi", "trilithon-64"),
    (Series("WSGI, 8 threads", "#2f74c8"), "claim-wsgi", "trilithon-8"),
    (Series("WSGI, 1 thread", "#6fa5de"), "claim-wsgi", "trilithon-1"),
)
TITLE = "The same uploads, the same server: WSGI by number of threads, and ASGI"


def figures(results: Results, name: str) -> list[list[float]]:
    """Return one figure of every line at every number of clients; raises KeyError when the run lacks one."""
    found = []
    for _, case, server in LINES:
        values = [results.median(case, server, name, str(clients)) for clients in CLIENTS]
        if None in values:
            raise KeyError(name)
        found.append([value for value in values if value is not None])
    return found


def picture(results: Results) -> str:
    """Return the SVG."""
    panels = (
        Panel("Uploads a second", "more is better", figures(results, "requests_per_s")),
        Panel(
            "Time to the answer",
            "p50, the shade up to p99; less is better",
            figures(results, "p50_ms"),
            figures(results, "p99_ms"),
            is_logarithmic=True,
            unit="ms",
        ),
        Panel("Memory, MiB", "of the whole process", [mebibytes(row) for row in figures(results, "pss_kib")]),
    )
    return draw(TITLE, panels, [series for series, _, _ in LINES], [f"{clients:,}" for clients in CLIENTS])


def mebibytes(row: list[float]) -> list[float]:
    """Return what is given in KiB."""
    return [value / 1024 for value in row]


def block(results: Results) -> str:
    """Return the measured part of the page."""
    names = ("requests_per_s", "p50_ms", "p99_ms", "pss_kib", "cpu_us")
    rows = []
    for place, (series, _, _) in enumerate(LINES):
        for column, clients in enumerate(CLIENTS):
            rate, p50, p99, memory, cost = (figures(results, name)[place][column] for name in names)
            cells = [number(rate, 0), number(p50, 0), number(p99, 0), number(memory / 1024, 0), number(cost / 1000, 2)]
            rows.append([series.name, f"{clients:,}", *cells])
    header = ["", "clients", "uploads/s", "p50 ms", "p99 ms", "memory MiB", "CPU ms an upload"]
    machine = results.machine
    told = [f"{machine[name]}" for name in ("processor", "memory", "kernel", "Python") if name in machine]
    lines = [BEGIN, "", "![Uploads a second, time to the answer and memory of each](figures/choosing.svg)", ""]
    return "\n".join([*lines, *table(header, rows), f"Measured on {', '.join(told)}.", "", END])


def is_measured(results: Results) -> bool:
    """Tell whether a run has all the figures of the page."""
    try:
        return bool(figures(results, "p99_ms"))
    except KeyError:
        return False


def write_choosing(results: Results, directory: Path) -> bool:
    """Write picture and page when a run measured them; what the page says besides the figures is kept."""
    if not is_measured(results) or any(not results.servers(case.name) for case in CLAIM_CASES):
        return False
    page = directory / "choosing.md"
    before = page.read_text() if page.exists() else f"# WSGI or ASGI\n\n{BEGIN}\n{END}\n"
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    (directory / "figures" / "choosing.svg").write_text(picture(results))
    page.write_text(head + block(results) + tail)
    return True
