"""The database of the sensors: uploads, readings and the latest state of each station, in SQLite."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .readings import QUANTITIES, Upload

DEFAULT_PATH = Path(__file__).parent / "sensors.sqlite3"
BUSY_TIMEOUT_S = 30.0
SHOWN_STATIONS = 12
SHOWN_UPLOADS = 12
TREND_POINTS = 48

SCHEMA = """
CREATE TABLE IF NOT EXISTS upload (
    id INTEGER PRIMARY KEY, station TEXT NOT NULL, interface TEXT NOT NULL,
    received_s REAL NOT NULL, readings INTEGER NOT NULL, state TEXT NOT NULL, took_ms REAL
);
CREATE TABLE IF NOT EXISTS reading (
    id INTEGER PRIMARY KEY, upload INTEGER NOT NULL REFERENCES upload (id),
    station TEXT NOT NULL, quantity TEXT NOT NULL, value REAL NOT NULL, at_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS reading_of_station ON reading (station, quantity, id);
CREATE TABLE IF NOT EXISTS station (
    name TEXT PRIMARY KEY, uploads INTEGER NOT NULL, readings INTEGER NOT NULL, seen_s REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS station_by_time ON station (seen_s);
CREATE TABLE IF NOT EXISTS latest (
    station TEXT NOT NULL, quantity TEXT NOT NULL, value REAL NOT NULL, at_s REAL NOT NULL,
    PRIMARY KEY (station, quantity)
) WITHOUT ROWID;
"""


class Store:
    """The database at `path`; every method may be called from any thread and blocks it for a moment."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        # SQLite has one writer at a time, and the waiting ones poll; a lock hands over at once.
        self.writing = threading.Lock()
        self.opening = threading.Lock()
        self.threads = threading.local()
        self.connections: list[sqlite3.Connection] = []

    def begin_upload(self, upload: Upload, interface: str) -> int:
        """Write down that an upload came, before anything can fail, and return its number."""
        row = (upload.station, interface, time.time(), len(upload.readings))
        database = self.connection()
        with self.writing:
            cursor = database.execute(
                "INSERT INTO upload (station, interface, received_s, readings, state) VALUES (?, ?, ?, ?, 'received')",
                row,
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def finish_upload(self, number: int, upload: Upload, took_ms: float) -> None:
        """Write the calibrated readings and what they make of the station, all of it or nothing."""
        station, now_s = upload.station, time.time()
        with self.transaction() as database:
            database.executemany(
                "INSERT INTO reading (upload, station, quantity, value, at_s) VALUES (?, ?, ?, ?, ?)",
                [(number, station, each.quantity, each.value, each.at_s) for each in upload.readings],
            )
            database.executemany(
                "INSERT INTO latest VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
                " SET value = excluded.value, at_s = excluded.at_s WHERE excluded.at_s >= at_s",
                [(station, each.quantity, each.value, each.at_s) for each in upload.readings],
            )
            database.execute(
                "INSERT INTO station VALUES (?, 1, ?, ?) ON CONFLICT DO UPDATE"
                " SET uploads = uploads + 1, readings = readings + excluded.readings, seen_s = excluded.seen_s",
                (station, len(upload.readings), now_s),
            )
            database.execute("UPDATE upload SET state = 'stored', took_ms = ? WHERE id = ?", (took_ms, number))

    def fail_upload(self, number: int) -> None:
        """Write down that the remote service did not answer."""
        database = self.connection()
        with self.writing:
            database.execute("UPDATE upload SET state = 'failed' WHERE id = ?", (number,))

    def overview(self) -> dict[str, Any]:
        """Return what the page shows: the stations seen last with their trends, and the latest uploads."""
        database = self.connection()
        stations = [
            {"name": name, "uploads": uploads, "readings": readings, "seen": seen_s, "latest": self.latest(name)}
            for name, uploads, readings, seen_s in database.execute(
                "SELECT name, uploads, readings, seen_s FROM station ORDER BY seen_s DESC LIMIT ?", (SHOWN_STATIONS,)
            ).fetchall()
        ]
        keys = ("id", "station", "interface", "received", "readings", "state", "took_ms")
        uploads = database.execute(
            "SELECT id, station, interface, received_s, readings, state, took_ms FROM upload ORDER BY id DESC LIMIT ?",
            (SHOWN_UPLOADS,),
        ).fetchall()
        return {"stations": stations, "uploads": [dict(zip(keys, row, strict=True)) for row in uploads]}

    def latest(self, station: str) -> list[dict[str, Any]]:
        """Return the latest value of each quantity of a station, with the values before it, oldest first."""
        database = self.connection()
        found = {
            quantity: {"quantity": quantity, "value": value, "unit": QUANTITIES[quantity][0], "at": at_s}
            for quantity, value, at_s in database.execute(
                "SELECT quantity, value, at_s FROM latest WHERE station = ?", (station,)
            )
        }
        for quantity, facts in found.items():
            trend = database.execute(
                "SELECT value FROM reading WHERE station = ? AND quantity = ? ORDER BY id DESC LIMIT ?",
                (station, quantity, TREND_POINTS),
            )
            facts["trend"] = [value for (value,) in trend][::-1]
        return [found[quantity] for quantity in QUANTITIES if quantity in found]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write several things within the block; they are kept when it ends, and undone when it raises."""
        database = self.connection()
        with self.writing:
            # IMMEDIATE waits for another process here, where waiting is possible, and not in the middle.
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def connection(self) -> sqlite3.Connection:
        """Return the connection of this thread; the first one of the process makes the tables."""
        connection: sqlite3.Connection | None = getattr(self.threads, "connection", None)
        if connection is None:
            with self.opening:
                # Each is used by its own thread; only `close`, when all is over, comes from another.
                connection = sqlite3.connect(
                    self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
                )
                write_ahead(connection)
                # In WAL mode this survives a crash of the process; a power cut may lose the last moments, nothing more.
                connection.execute("PRAGMA synchronous = NORMAL")
                if not self.connections:
                    connection.executescript(SCHEMA)
                self.connections.append(connection)
            self.threads.connection = connection
        return connection

    def close(self) -> None:
        """Close the connections of all threads; call it when none of them works any more."""
        with self.opening:
            for connection in self.connections:
                connection.close()
            self.connections.clear()


def write_ahead(connection: sqlite3.Connection) -> None:
    """Put the database into WAL mode; raises sqlite3.OperationalError when it stays locked.

    SQLite waits for no lock when it changes the mode, and another process may be about to do the same.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def configured() -> Store:
    """Return the store that SENSORS_DATABASE names, by default a file beside this one."""
    return Store(os.environ.get("SENSORS_DATABASE") or DEFAULT_PATH)
