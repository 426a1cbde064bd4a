"""A FastAPI application that answers JSON."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/items/{number}")
async def item(number: int, detail: bool = False):
    """Answer a small object made from a path and a query parameter."""
    return {"number": number, "detail": detail, "name": "trilithon", "tags": ["stone", "lintel"]}
