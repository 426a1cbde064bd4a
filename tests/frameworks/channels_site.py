"""A Django Channels site: consumers of both kinds, groups, sessions, subprotocols, refusals and streams over HTTP."""

import asyncio
import threading
from typing import Any

import django_site  # configures Django, once for all tests of a process
from channels.exceptions import DenyConnection
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from channels.sessions import CookieMiddleware, SessionMiddleware
from django.urls import path, re_path

DEADLINE_S = 10.0


class Notes:
    """What consumers noted, for tests to wait for."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.changed = threading.Condition()

    def add(self, *what: Any) -> None:
        """Write down; any thread."""
        with self.changed:
            self.found.append(what)
            self.changed.notify_all()

    def wait_for(self, *what: Any) -> None:
        """Wait until this was noted, and take it off."""
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.found, DEADLINE_S), f"{what} is not in {self.found}"
            self.found.remove(what)


notes = Notes()


def renew_layer() -> None:
    """Make a channel layer for another event loop: queues belong to the loop that first waited for them."""
    channel_layers.set("default", InMemoryChannelLayer())


class Echo(AsyncWebsocketConsumer):
    """Sends back what comes and notes how it ended."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        notes.add("echo", code)


class Threaded(WebsocketConsumer):
    """The same on threads, as sites with the ORM have it."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        name = threading.current_thread().name
        self.send(text_data=f"{text_data} off the loop" if not name.startswith("trilithon") else name)

    def disconnect(self, code: int) -> None:
        notes.add("threaded", code)


class Room(AsyncJsonWebsocketConsumer):
    """A room over the channel layer."""

    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive_json(self, content: Any, **more: Any) -> None:
        await self.channel_layer.group_send(self.room, {"type": "room.said", "said": content["say"]})

    async def room_said(self, event: dict[str, Any]) -> None:
        """Pass on what the layer brings."""
        await self.send_json({"said": event["said"]})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)
        notes.add("room", code)


class Session(JsonWebsocketConsumer):
    """Tells what the handshake brought: session, cookies, client, subprotocols; closes by itself."""

    def connect(self) -> None:
        offered = self.scope["subprotocols"]
        self.accept("chat" if "chat" in offered else None)
        self.send_json(
            {
                "visits": self.scope["session"].get("visits", 0),
                "cookies": sorted(self.scope["cookies"]),
                "offered": offered,
                "client": self.scope["client"][0],
                "query": self.scope["query_string"].decode(),
            }
        )
        self.close(4001, "seen enough")

    def disconnect(self, code: int) -> None:
        notes.add("session", code)


class Refuse(AsyncWebsocketConsumer):
    """Refuses in the way that the path names."""

    async def connect(self) -> None:
        way = self.scope["url_route"]["kwargs"]["way"]
        if way == "deny":
            raise DenyConnection
        if way == "error":
            raise RuntimeError("the secret reason")
        await self.close()


class Fail(AsyncWebsocketConsumer):
    """Fails at the first message."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        raise RuntimeError("the secret reason")


class Stream(AsyncHttpConsumer):
    """Server-sent events, one for each message of the layer's group, until the client leaves."""

    async def http_request(self, message: dict[str, Any]) -> None:
        await self.handle(b"")

    async def handle(self, body: bytes) -> None:
        await self.channel_layer.group_add("news", self.channel_name)
        await self.send_headers(headers=[(b"content-type", b"text/event-stream")])
        await self.send_body(b"data: begun\n\n", more_body=True)

    async def news_item(self, event: dict[str, Any]) -> None:
        """Pass an item on as an event."""
        await self.send_body(b"data: " + event["text"].encode() + b"\n\n", more_body=True)

    async def disconnect(self) -> None:
        await self.channel_layer.group_discard("news", self.channel_name)
        notes.add("stream left")


class LongPoll(AsyncHttpConsumer):
    """Answers with the next message of the group."""

    async def http_request(self, message: dict[str, Any]) -> None:
        await self.channel_layer.group_add("news", self.channel_name)
        notes.add("polling")

    async def news_item(self, event: dict[str, Any]) -> None:
        """Answer the poll."""
        await self.send_response(200, event["text"].encode(), headers=[(b"content-type", b"text/plain")])

    async def disconnect(self) -> None:
        await self.channel_layer.group_discard("news", self.channel_name)
        notes.add("poll over")


class Publish(AsyncHttpConsumer):
    """Sends its body to the group."""

    async def handle(self, body: bytes) -> None:
        layer = get_channel_layer()
        assert layer is not None
        await layer.group_send("news", {"type": "news.item", "text": body.decode()})
        await asyncio.sleep(0)
        await self.send_response(200, b"published")


sockets = URLRouter(
    [
        path("echo", Echo.as_asgi()),
        path("threaded", Threaded.as_asgi()),
        path("rooms/<str:room>", Room.as_asgi()),
        path("session", Session.as_asgi()),
        path("refuse/<str:way>", Refuse.as_asgi()),
        path("fail", Fail.as_asgi()),
    ]
)
requests = URLRouter(
    [
        path("stream", Stream.as_asgi()),
        path("poll", LongPoll.as_asgi()),
        path("publish", Publish.as_asgi()),
        re_path(r"", django_site.asgi_application),
    ]
)
with_sessions = CookieMiddleware(SessionMiddleware(sockets))
origins = ["http://good.example", "http://also.example:8080"]
application = ProtocolTypeRouter({"http": requests, "websocket": OriginValidator(with_sessions, origins)})
