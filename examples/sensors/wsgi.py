"""The sensors as a WSGI application in Flask: plain blocking code, one thread for each upload on its way."""

import atexit
import threading
import time
from pathlib import Path
from typing import Any

import httpx
from flask import Flask, Response, jsonify, request, send_from_directory
from werkzeug.exceptions import HTTPException

from . import store, upstream
from .readings import MAX_UPLOAD_BYTES, Unacceptable, Upload, calibrate, parse_file, parse_json

PAGE = Path(__file__).parent / "page"
FORM_OVERHEAD_BYTES = 4096

app = Flask(__name__, static_folder=None)
app.config["MAX_CONTENT_LENGTH"] = MAX_UPLOAD_BYTES + FORM_OVERHEAD_BYTES
database = store.configured()
atexit.register(database.close)


class Clients(threading.local):
    """The client of the remote service that belongs to the calling thread, so that none waits for another."""

    def __init__(self) -> None:
        # `trust_env` off: the service is a neighbour, never behind a proxy that the environment names.
        self.mine = httpx.Client(timeout=upstream.TIMEOUT_S, trust_env=False, verify=CONTEXT)
        atexit.register(self.mine.close)


CONTEXT = httpx.create_ssl_context()
clients = Clients()


@app.post("/uploads")
def take_upload() -> tuple[Response, int]:
    """Store one upload: write that it came, ask the remote service, write what it brought."""
    began_s = time.perf_counter()
    received = parse()
    number = database.begin_upload(received, "WSGI")
    try:
        answer = clients.mine.get(upstream.neighbour.address() + upstream.path_of(received.station))
        offsets = answer.raise_for_status().json()["offsets"]
    except (httpx.HTTPError, ValueError, KeyError):
        database.fail_upload(number)
        return jsonify(error="the calibration service did not answer"), 502
    database.finish_upload(number, calibrate(received, offsets), elapsed_ms(began_s))
    facts = {"upload": number, "station": received.station, "readings": len(received.readings), "interface": "WSGI"}
    return jsonify(**facts, offsets=offsets, took_ms=elapsed_ms(began_s)), 201


def elapsed_ms(began_s: float) -> float:
    """Return how long ago that was."""
    return round((time.perf_counter() - began_s) * 1000, 2)


def parse() -> Upload:
    """Read the request's body, JSON or a form with a file."""
    if request.mimetype == "application/json":
        return parse_json(request.get_data())
    if request.mimetype == "multipart/form-data":
        file = request.files.get("file")
        if file is None:
            raise Unacceptable('the form has no file "file"')
        return parse_file(request.form.get("station"), file.stream.read())
    raise Unacceptable("an upload is JSON or a form with a file", 415)


@app.errorhandler(Unacceptable)
def refuse(fault: Unacceptable) -> tuple[Response, int]:
    """Tell the sender what is wrong."""
    return jsonify(error=str(fault)), fault.status


@app.errorhandler(HTTPException)
def refuse_otherwise(fault: HTTPException) -> tuple[Response, int]:
    """Tell what the framework refuses, in the same form."""
    return jsonify(error=fault.name), fault.code or 500


@app.get("/latest")
def latest() -> Any:
    """Return what the page shows."""
    return jsonify({**database.overview(), "interface": "WSGI", "framework": "Flask"})


@app.get("/")
def page() -> Response:
    """Send the page."""
    return send_from_directory(PAGE, "index.html")


@app.get("/<any('style.css', 'page.js'):name>")
def asset(name: str) -> Response:
    """Send the style or the script of the page."""
    return send_from_directory(PAGE, name)
