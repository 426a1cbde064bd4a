"""A Flask site with what Flask sites have: sessions, forms, uploads, streams, files and errors."""

import hashlib
import io
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, abort, jsonify, redirect, request, send_file, session, stream_with_context

app = Flask(__name__)
app.secret_key = "a secret for tests only"

DOWNLOAD = bytes(range(256)) * 4096


@app.get("/")
def index() -> str:
    """Answer with the query's name."""
    return f"hello {request.args.get('name', 'nobody')}"


@app.get("/url/<path:rest>")
def url(rest: str) -> Any:
    """Say how Flask sees the address."""
    return jsonify(rest=rest, url=request.url, root=request.script_root, remote=request.remote_addr)


@app.post("/login")
def login() -> Any:
    """Keep the name in the session."""
    session["name"] = request.form["name"]
    return redirect("/whoami")


@app.get("/whoami")
def whoami() -> str:
    """Tell the name in the session."""
    return str(session.get("name", "a stranger"))


@app.post("/upload")
def upload() -> Any:
    """Describe the uploaded file."""
    file = request.files["file"]
    content = file.read()
    digest = hashlib.sha256(content).hexdigest()
    return jsonify(name=file.filename, size=len(content), digest=digest, note=request.form["note"])


@app.route("/echo", methods=["POST", "PUT"])
def echo() -> Any:
    """Answer with the body."""
    return Response(request.get_data(), content_type=request.content_type)


@app.get("/stream")
def stream() -> Any:
    """Stream lines that still see the request."""

    def lines() -> Iterator[str]:
        for number in range(100):
            yield f"{request.path} {number}\n"

    return Response(stream_with_context(lines()), mimetype="text/plain")


@app.get("/download")
def download() -> Any:
    """Send a file from memory, with conditional and range requests handled by Flask."""
    return send_file(io.BytesIO(DOWNLOAD), download_name="d.bin", etag="fixed", conditional=True)


@app.get("/source")
def source() -> Any:
    """Send a file of the disk, which goes through wsgi.file_wrapper."""
    return send_file(__file__, mimetype="text/x-python")


@app.get("/fail")
def fail() -> str:
    """Fail."""
    raise RuntimeError("the secret reason")


@app.get("/teapot")
def teapot() -> str:
    """Refuse."""
    abort(418)


@app.errorhandler(404)
def missing(error: Exception) -> tuple[str, int]:
    """Answer with the site's own page."""
    return "own page for what is missing", 404


@app.get("/cookies")
def cookies() -> Any:
    """Set two cookies."""
    response = Response("", status=204)
    response.set_cookie("first", "1")
    response.set_cookie("second", "2", httponly=True)
    return response
