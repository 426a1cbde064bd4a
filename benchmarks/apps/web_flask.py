"""A Flask application that answers JSON."""

from flask import Flask, request

app = Flask(__name__)
app.json.sort_keys = False


@app.get("/items/<int:number>")
def item(number):
    """Answer a small object made from a path and a query parameter."""
    return {"number": number, "detail": "detail" in request.args, "name": "trilithon", "tags": ["stone", "lintel"]}
