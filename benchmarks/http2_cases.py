"""The questions over HTTP/2 and over TLS: the same applications, carried by other means."""

import json

from benchmarks.cases import ITEM, Case, Kind

ASGI = ("trilithon", "uvicorn-zttp", "granian-asgi", "hypercorn")
"""The ASGI servers that speak HTTP/2 for users to whom speed matters."""

WSGI = ("trilithon", "granian-wsgi", "hypercorn-wsgi")
"""The WSGI servers that run several requests of a connection at once; gunicorn serves one after the other."""


FLOOR = ("http2-floor",)


def http2_pair(name: str, title: str, attribute: str, **more: object) -> list[Case]:
    """Return the same question over HTTP/2 put to the ASGI and to the WSGI form of an application."""
    settings = {"is_tls": True, "connections": 16, "streams": 4, **more}
    # The floor knows neither TLS nor another answer.
    floor = () if settings["is_tls"] else FLOOR
    return [
        Case(
            name=f"{name}-{interface}",
            title=f"{title}, {interface.upper()}",
            interface=interface,
            app=f"plain_{interface}:{attribute}",
            servers=(*floor, *servers),
            extras=(*floor, *servers),
            is_http2=True,
            **settings,
        )
        for interface, servers in (("asgi", ASGI), ("wsgi", WSGI))
    ]


HTTP2_CASES: tuple[Case, ...] = (
    *http2_pair("h2-1", "HTTP/2 over TLS, 1 stream a connection, constant", "constant", connections=64, streams=1),
    *http2_pair("h2-32", "HTTP/2 over TLS, 16 connections of 32 streams, constant", "constant", streams=32),
    *http2_pair(
        "h2c-1",
        "Cleartext HTTP/2, 1 stream a connection, constant",
        "constant",
        is_tls=False,
        connections=64,
        streams=1,
    ),
    *http2_pair(
        "h2c-32", "Cleartext HTTP/2, 16 connections of 32 streams, constant", "constant", is_tls=False, streams=32
    ),
    Case(
        name="h2-fastapi",
        title="HTTP/2 over TLS, 16 connections of 4 streams, FastAPI JSON",
        interface="asgi",
        app="web_fastapi:app",
        path="/items/42?detail=1",
        body=json.dumps(ITEM).encode(),
        is_json=True,
        servers=ASGI,
        is_tls=True,
        is_http2=True,
        connections=16,
        streams=4,
    ),
    *http2_pair(
        "h2-1m",
        "HTTP/2 over TLS, 16 connections of 4 streams, 1 MiB in 16 parts",
        "stream",
        body=b"x" * 1048576,
        requests=1024,
    ),
    *http2_pair(
        "h2-upload",
        "HTTP/2 over TLS, 16 connections of 4 streams, 16 KiB upload",
        "swallow",
        post_bytes=16384,
        body=b"16384",
    ),
    Case(
        name="tls-asgi",
        title="HTTP/1.1 over TLS, constant, ASGI",
        interface="asgi",
        app="plain_asgi:constant",
        servers=("trilithon", "uvicorn", "granian-asgi", "gunicorn-asgi"),
        is_tls=True,
    ),
    Case(
        name="tls-wsgi",
        title="HTTP/1.1 over TLS, constant, WSGI",
        interface="wsgi",
        app="plain_wsgi:constant",
        servers=("trilithon", "granian-wsgi", "gunicorn-gthread"),
        is_tls=True,
    ),
    Case(
        name="handshakes",
        title="TLS handshakes, full and resumed, each with one request",
        interface="asgi",
        app="plain_asgi:constant",
        kind=Kind.HANDSHAKE,
        servers=("trilithon", "uvicorn", "granian-asgi", "gunicorn-asgi", "hypercorn"),
        is_tls=True,
        connections=8,
    ),
)
