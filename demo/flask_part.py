"""The Flask (WSGI) part of the demo, mounted at /flask: ordinary blocking code on the server's threads."""

import time
from typing import Any

from flask import Flask, jsonify, request

from demo.serving import describe_server

SLOW_S = 2.0

app = Flask(__name__)


def describe() -> dict[str, Any]:
    """Return how this request was served."""
    return {
        **describe_server(),
        "part": "Flask",
        "interface": f"WSGI {'.'.join(map(str, request.environ['wsgi.version']))}",
        "protocol": request.environ["SERVER_PROTOCOL"],
        "mount": ["SCRIPT_NAME", request.environ["SCRIPT_NAME"]],
        "path": ["PATH_INFO", request.environ["PATH_INFO"]],
        "runs": "on a crew thread, blocking",
    }


@app.get("/")
def quick() -> Any:
    """Answer at once."""
    return jsonify(describe())


@app.get("/slow")
def slow() -> Any:
    """Block this thread for a while, as a database call would."""
    time.sleep(SLOW_S)
    return jsonify(describe())


@app.post("/echo")
def echo() -> Any:
    """Tell the size of the body that came."""
    return jsonify({**describe(), "received": len(request.get_data())})
