"""What the sensors accept, and a database that many threads and two applications write to."""

import json
import threading
import time
from datetime import UTC, datetime

import pytest
from examples.sensors import readings
from examples.sensors.readings import Reading, Unacceptable, Upload
from examples.sensors.store import Store

pytestmark = pytest.mark.once

NOON_S = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def document(**reading) -> bytes:
    """Return an upload of one reading as JSON."""
    return json.dumps({"station": " Ridge ", "readings": [{"quantity": "humidity", "value": 50, **reading}]}).encode()


def test_json_and_files_say_the_same():
    by_json = readings.parse_json(document(value="50.5", at="2026-03-01T13:00:00+01:00"))
    by_file = readings.parse_file(" Ridge ", b"at,quantity,value\r\n2026-03-01 12:00,humidity,50.5\r\n")
    assert by_json == by_file == Upload("Ridge", [Reading("humidity", 50.5, NOON_S)])


def test_without_a_time_it_is_now():
    before_s = time.time()
    (reading,) = readings.parse_json(document()).readings
    assert before_s <= reading.at_s <= time.time()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"station": "Ridge", "readings": {}}',
        b'{"station": "Ridge", "readings": [1]}',
        b'{"station": 5, "readings": [{"quantity": "humidity", "value": 1}]}',
        b"[" * 100_000,
        document(quantity="mood"),
        document(quantity=["humidity"]),
        document(value=None),
        document(value="warm"),
        document(value=101),
        document(value=float("nan")),
        document(value=float("inf")),
        document(value=10**400),
        document(at=5),
        document(at="yesterday"),
        document(at="9999-12-31T23:59:59-12:00"),
        json.dumps({"station": "R\u202edge", "readings": [{"quantity": "humidity", "value": 1}]}).encode(),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(body):
    with pytest.raises(Unacceptable) as refusal:
        readings.parse_json(body)
    assert refusal.value.status == 400
    assert str(refusal.value)


def test_too_much_is_refused_as_too_much():
    rows = b"quantity,value\n" + b"humidity,1\n" * (readings.MAX_READINGS + 1)
    with pytest.raises(Unacceptable) as refusal:
        readings.parse_file("Ridge", rows)
    assert refusal.value.status == 413


@pytest.fixture
def stores(tmp_path):
    """Return two stores on one database, as the two applications on one site have them."""
    made = [Store(tmp_path / "sensors.sqlite3") for _ in range(2)]
    yield made
    for store in made:
        store.close()


def test_many_threads_and_two_applications_write_at_once(stores):
    faults: list[BaseException] = []

    def work(store: Store, station: str) -> None:
        try:
            for value in range(25):
                upload = Upload(station, [Reading("humidity", value, NOON_S + value)])
                store.finish_upload(store.begin_upload(upload, "WSGI"), upload, 1.0)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work, args=[stores[number % 2], f"S{number % 3}"]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    overview = stores[0].overview()
    assert sum(station["uploads"] for station in overview["stations"]) == 150
    assert all(station["latest"][0]["value"] == 24 for station in overview["stations"])
    assert stores[1].overview() == overview


def test_what_fails_in_the_middle_leaves_nothing(stores):
    store = stores[0]
    good = Upload("Ridge", [Reading("humidity", 1, NOON_S)])
    store.finish_upload(store.begin_upload(good, "WSGI"), good, 1.0)
    before = store.overview()["stations"]
    bad = Upload("Ridge", [Reading("humidity", 2, NOON_S), Reading("humidity", None, NOON_S)])  # type: ignore[arg-type]
    number = store.begin_upload(bad, "WSGI")
    with pytest.raises(Exception, match="NOT NULL"):
        store.finish_upload(number, bad, 1.0)
    assert store.overview()["stations"] == before
    assert store.overview()["uploads"][0]["state"] == "received"


def test_an_older_reading_does_not_replace_a_newer_one(stores):
    for value, at_s in ((1.0, NOON_S), (2.0, NOON_S - 60)):
        upload = Upload("Ridge", [Reading("humidity", value, at_s)])
        stores[0].finish_upload(stores[0].begin_upload(upload, "ASGI"), upload, 1.0)
    (humidity,) = stores[0].overview()["stations"][0]["latest"]
    assert (humidity["value"], humidity["trend"]) == (1.0, [1.0, 2.0])
