"""What an upload is: readings of one station, read from JSON or from a CSV file and checked."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

MAX_UPLOAD_BYTES = 256 * 1024
MAX_READINGS = 2000
MAX_STATION_LENGTH = 40
MAX_AHEAD_S = 3600.0

# What may be measured: its unit, and the values that a working sensor can give.
QUANTITIES = {
    "temperature": ("°C", -60.0, 60.0),
    "humidity": ("%", 0.0, 100.0),
    "pressure": ("hPa", 850.0, 1100.0),
}


class Unacceptable(Exception):
    """An upload that is the sender's mistake; its text says which, `status` is the HTTP status to answer."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one quantity, in its unit, at a time in seconds since the epoch."""

    quantity: str
    value: float
    at_s: float


@dataclass(frozen=True, slots=True)
class Upload:
    """What one request brought: the station and at least one reading, in the order sent."""

    station: str
    readings: list[Reading]


def parse_json(body: bytes) -> Upload:
    """Read `{"station": ..., "readings": [{"quantity": ..., "value": ..., "at": ...}]}`; `at` may be left out."""
    check_size(len(body))
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as fault:
        raise Unacceptable(f"not JSON: {fault}") from None
    if not isinstance(document, dict) or not isinstance(document.get("readings"), list):
        raise Unacceptable('expected an object with "station" and a list "readings"')
    return assemble(document.get("station"), document["readings"])


def parse_file(station: Any, content: bytes) -> Upload:
    """Read a CSV file whose first line names its columns: `quantity,value` and, as you like, `at`."""
    check_size(len(content))
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode())))
    except (UnicodeDecodeError, csv.Error) as fault:
        raise Unacceptable(f"not a CSV file in UTF-8: {fault}") from None
    return assemble(station, rows)


def check_size(size_bytes: int) -> None:
    """Refuse what is larger than any upload of a station should be."""
    if size_bytes > MAX_UPLOAD_BYTES:
        raise Unacceptable(f"an upload has at most {MAX_UPLOAD_BYTES} bytes", 413)


def assemble(station: Any, rows: Iterable[Any]) -> Upload:
    """Check the parts of an upload and put them together."""
    name = station.strip() if isinstance(station, str) else ""
    if not name or len(name) > MAX_STATION_LENGTH or not name.isprintable():
        raise Unacceptable(f"a station has a name of 1 to {MAX_STATION_LENGTH} printable characters")
    now_s = datetime.now(UTC).timestamp()
    readings = [check(row, number, now_s) for number, row in enumerate(rows, 1)]
    if not readings:
        raise Unacceptable("there is no reading in it")
    if len(readings) > MAX_READINGS:
        raise Unacceptable(f"an upload has at most {MAX_READINGS} readings", 413)
    return Upload(name, readings)


def check(row: Any, number: int, now_s: float) -> Reading:
    """Return the reading that `row` holds; without a time it was taken now."""
    if not isinstance(row, Mapping):
        raise Unacceptable(f"reading {number} is not an object")
    quantity = row.get("quantity")
    if not isinstance(quantity, str) or quantity not in QUANTITIES:
        raise Unacceptable(f"reading {number}: the quantity is one of {', '.join(QUANTITIES)}")
    unit, least, most = QUANTITIES[quantity]
    try:
        value = float(row.get("value"))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not least <= value <= most:
        raise Unacceptable(f"reading {number}: {quantity} lies between {least:g} and {most:g} {unit}")
    return Reading(quantity, value, moment(row.get("at"), number, now_s))


def moment(text: Any, number: int, now_s: float) -> float:
    """Return the time that an ISO 8601 text names, in UTC when it names no zone; `now_s` when there is none."""
    if text is None or text == "":
        return now_s
    try:
        named = datetime.fromisoformat(text)
        at_s = (named if named.tzinfo else named.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        raise Unacceptable(f"reading {number}: {str(text)[:40]!r} is no ISO 8601 time") from None
    # A station whose clock is far ahead would otherwise have the latest word for ever.
    if at_s > now_s + MAX_AHEAD_S:
        raise Unacceptable(f"reading {number}: {text} has not come yet")
    return at_s


def calibrate(upload: Upload, offsets: Mapping[str, float]) -> Upload:
    """Return the upload with the offset of its quantity added to each value."""
    return Upload(
        upload.station,
        [
            Reading(each.quantity, round(each.value + offsets.get(each.quantity, 0.0), 3), each.at_s)
            for each in upload.readings
        ],
    )
