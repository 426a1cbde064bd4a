"""Write what the sensors example found into docs/choosing.md, as a table and a picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.claim_cases import CLIENTS
from benchmarks.figure import Panel, Series, draw
from benchmarks.results import Results
from benchmarks.tables import Cells, number, table

BEGIN, END = (
    "<!-- Measured figures, written by scripts/bench; do not edit. -->",
    "<!-- End of the measured figures. -->",
)

# Blues for the threads, the more the darker, so that the one line of the other kind stands out.
ASGI = Series("ASGI", "#d9480f")
MANY = Series("WSGI, 64 threads", "#0b3d91")
SOME = Series("WSGI, 8 threads", "#2f74c8")
ONE = Series("WSGI, 1 thread", "#6fa5de")


@dataclass(frozen=True)
class Question:
    """One table with its picture: the lines in it, each the figures of one server in one case."""

    name: str
    title: str
    lines: tuple[tuple[Series, str, str], ...]


QUESTIONS = (
    Question(
        "choosing",
        "A remote call of 20 ms for each upload",
        (
            (ASGI, "claim-asgi", "trilithon"),
            (MANY, "claim-wsgi", "trilithon-64"),
            (SOME, "claim-wsgi", "trilithon-8"),
            (ONE, "claim-wsgi", "trilithon-1"),
        ),
    ),
    Question(
        "choosing-slow",
        "A remote call of 1 s for each upload",
        ((ASGI, "claim-slow-asgi", "trilithon"), (MANY, "claim-slow-wsgi", "trilithon-64")),
    ),
)


def figures(results: Results, question: Question, name: str) -> list[list[float]]:
    """Return one figure of every line at every number of clients; raises KeyError when the run lacks one."""
    found = []
    for _, case, server in question.lines:
        values = [results.median(case, server, name, str(clients)) for clients in CLIENTS]
        if None in values:
            raise KeyError(name)
        found.append([value for value in values if value is not None])
    return found


def picture(results: Results, question: Question) -> str:
    """Return the SVG."""
    times = [figures(results, question, name) for name in ("p50_ms", "p99_ms")]
    memory = [[value / 1024 for value in row] for row in figures(results, question, "pss_kib")]
    panels = (
        Panel("Uploads a second", "more is better", figures(results, question, "requests_per_s")),
        Panel("Time to the answer", "p50, the shade up to p99; less is better", *times, is_logarithmic=True, unit="ms"),
        Panel("Memory, MiB", "of the whole process", memory),
    )
    return draw(question.title, panels, [line[0] for line in question.lines], [f"{each:,}" for each in CLIENTS])


def rows(results: Results, question: Question) -> Iterator[Cells]:
    """Yield the rows of the table."""
    for place, (series, _, _) in enumerate(question.lines):
        for column, clients in enumerate(CLIENTS):
            names = ("requests_per_s", "p50_ms", "p99_ms", "pss_kib", "cpu_us")
            rate, p50, p99, memory, cost = (figures(results, question, name)[place][column] for name in names)
            cells = [number(rate, 0), number(p50, 0), number(p99, 0), number(memory / 1024, 0), number(cost / 1000, 2)]
            yield [series.name, f"{clients:,}", *cells]


def block(results: Results) -> str:
    """Return the measured part of the page."""
    lines = [BEGIN, ""]
    for question in QUESTIONS:
        lines += [f"![{question.title}: uploads a second, time, memory](figures/{question.name}.svg)", ""]
        header = ["", "clients", "uploads/s", "p50 ms", "p99 ms", "memory MiB", "CPU ms an upload"]
        lines += table(header, list(rows(results, question)))
    told = [results.machine[name] for name in ("processor", "memory", "kernel", "Python") if name in results.machine]
    lines += [
        f"Measured on {', '.join(told)}; the server on one core, its clients and the remote service on another.",
        "",
    ]
    return "\n".join([*lines, END])


def is_measured(results: Results) -> bool:
    """Tell whether a run has all the figures of the page."""
    try:
        return all(figures(results, question, "p99_ms") for question in QUESTIONS)
    except KeyError:
        return False


def write_choosing(results: Results, directory: Path) -> bool:
    """Write pictures and page when a run measured them; what the page says besides the figures is kept."""
    if not is_measured(results):
        return False
    page = directory / "choosing.md"
    before = page.read_text() if page.exists() else f"# WSGI or ASGI\n\n{BEGIN}\n{END}\n"
    head, _, rest = before.partition(BEGIN)
    _, _, tail = rest.partition(END)
    (directory / "figures").mkdir(parents=True, exist_ok=True)
    for question in QUESTIONS:
        (directory / "figures" / f"{question.name}.svg").write_text(picture(results, question))
    page.write_text(head + block(results) + tail)
    return True
