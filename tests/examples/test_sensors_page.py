"""The sensors, as WSGI and as ASGI, in a real browser: what is uploaded shows up, by hand and as a file."""

import httpx
import pytest

pytestmark = [pytest.mark.real, pytest.mark.once]

BOTH = pytest.mark.parametrize("interface", ["wsgi", "asgi"])
CSV = "quantity,value,at\ntemperature,12.5,2026-03-01T10:00:00Z\ntemperature,13.5,2026-03-01T11:00:00+00:00\n"


@pytest.fixture
def serve_sensors(serve_example, tmp_path):
    """Return a function that serves the sensors with a database of the test's own."""

    def serve(*arguments: str, **variables: str):
        return serve_example(*arguments, SENSORS_DATABASE=str(tmp_path / "sensors.sqlite3"), **variables)

    return serve


@pytest.fixture
def client():
    """Return an HTTP client that asks no proxy."""
    with httpx.Client(trust_env=False, timeout=15) as made:
        yield made


def test_uploads_show_up_and_both_share_a_database(serve_sensors, open_window, tmp_path):
    site = serve_sensors("--mount", "/flask=sensors.wsgi:app", "--mount", "/=sensors.asgi:app")
    file = tmp_path / "readings.csv"
    file.write_text(CSV)
    for path, interface in (("/", "ASGI"), ("/flask/", "WSGI")):
        window = open_window(site.url + path)
        window.until_text("#served", interface)
        station = window.one("#station")
        station.clear()
        station.send_keys(f"By {interface}")
        window.one("#send").click()
        window.until_text("#told", f"3 readings stored by {interface}")
        window.one("#file").send_keys(str(file))
        window.until_text("#told", f"2 readings stored by {interface}")
        window.until_text(f".card[data-station='By {interface}']", "5 readings in 2 uploads")
        assert window.text("#uploads tr .pill") == interface

    # The other page, opened first, finds all of it without being touched.
    window = open_window(site.url)
    window.until_text(".card[data-station='By WSGI']", "5 readings")
    assert len(window.run("return [...document.querySelectorAll('#uploads tr')]")) == 4


def test_a_page_shows_what_others_send(serve_sensors, open_window, client):
    site = serve_sensors("sensors.asgi:app")
    window = open_window(site.url)
    window.until_text("#empty", "No station has reported yet")
    client.post(f"{site.url}/uploads", json=report("Far away", 21.5))
    window.until_text(".card", "Far away")
    assert not window.one("#empty").is_displayed()


@BOTH
def test_an_upload_is_calibrated_and_kept(serve_sensors, client, interface):
    site = serve_sensors(f"sensors.{interface}:app")
    answer = client.post(f"{site.url}/uploads", data={"station": "Ridge"}, files={"file": ("r.csv", CSV)})
    assert answer.status_code == 201
    facts = answer.json()
    assert facts["interface"] == interface.upper()
    assert facts["took_ms"] >= 20
    client.post(f"{site.url}/uploads", json=report("Ridge", 14.0)).raise_for_status()
    overview = client.get(f"{site.url}/latest").json()
    ridge = overview["stations"][0]
    assert (ridge["name"], ridge["readings"], ridge["uploads"]) == ("Ridge", 3, 2)
    offset = facts["offsets"]["temperature"]
    assert ridge["latest"][0]["trend"] == [round(value + offset, 3) for value in (12.5, 13.5, 14.0)]
    assert [upload["state"] for upload in overview["uploads"]] == ["stored", "stored"]


@BOTH
def test_what_is_no_upload_is_refused(serve_sensors, client, interface):
    site = serve_sensors(f"sensors.{interface}:app")
    url = f"{site.url}/uploads"
    form = {"data": {"station": "Ridge"}}
    refused = [
        (client.post(url, content=b"{", headers={"content-type": "application/json"}), 400),
        (client.post(url, json={"station": "Ridge", "readings": []}), 400),
        (client.post(url, json=report("Ridge", 1000)), 400),
        (client.post(url, json=report("", 10)), 400),
        (client.post(url, json=report("Ridge", 10, at="noon")), 400),
        (client.post(url, **form, files={"other": ("r.csv", CSV)}), 400),
        (client.post(url, **form, files={"file": ("r.csv", b"\xff\xfe")}), 400),
        (client.post(url, **form, files={"file": ("r.csv", b"x" * 300_000)}), 413),
        (client.post(url, content=b"hello", headers={"content-type": "text/plain"}), 415),
        (client.get(url), 405),
    ]
    assert [(answer.status_code, wanted) for answer, wanted in refused if answer.status_code != wanted] == []
    assert all(answer.json()["error"] for answer, _ in refused)
    assert client.get(f"{site.url}/latest").json()["uploads"] == []


@BOTH
def test_a_silent_service_is_told_and_written_down(serve_sensors, serve_example, client, interface):
    upstream = serve_example("sensors.upstream:app")
    site = serve_sensors(f"sensors.{interface}:app", SENSORS_UPSTREAM=upstream.url)
    assert client.post(f"{site.url}/uploads", json=report("Ridge", 10)).status_code == 201
    upstream.close()
    answer = client.post(f"{site.url}/uploads", json=report("Ridge", 10))
    assert answer.status_code == 502
    assert "calibration service" in answer.json()["error"]
    overview = client.get(f"{site.url}/latest").json()
    assert [upload["state"] for upload in overview["uploads"]] == ["failed", "stored"]
    assert overview["stations"][0]["readings"] == 1


def report(station: str, value: float, **more: str) -> dict:
    """Return an upload of one reading."""
    return {"station": station, "readings": [{"quantity": "temperature", "value": value, **more}]}
