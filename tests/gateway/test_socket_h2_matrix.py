"""Every test of frames, messages and closes again, over HTTP/2: to a WebSocket a stream is what a connection is."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import test_socket_closing
import test_socket_control
import test_socket_deflate
import test_socket_fragments
import test_socket_frames
import test_socket_text
from h2_socket_client import OverStream
from socket_apps import Desk, Guest, Recorder, open_desk

pytestmark = [pytest.mark.real, pytest.mark.spec("WS-H2-08", "WS-H2-14")]

MODULES = [
    test_socket_closing,
    test_socket_control,
    test_socket_deflate,
    test_socket_fragments,
    test_socket_frames,
    test_socket_text,
]
# These bring a client of their own, or lay hands on the connection that HTTP/1.1 gives to one socket alone.
HTTP1_ALONE = {
    "test_a_client_that_reads_again_behind_a_flood_is_served_on",
    "test_the_websockets_client_compresses",
    "test_the_websockets_client_talks_and_closes",
}


class StreamGuest(OverStream, Guest):
    """A client of a recording site that has a stream for its WebSocket."""

    def __init__(self, site: Any, recorder: Recorder, **more: Any) -> None:
        self.path = f"/{next(self.numbers)}"
        self.log = recorder.log(self.path)
        OverStream.__init__(self, site, self.path, **more)


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with open_desk(kind=StreamGuest) as found:
        yield found


def desk_tests(module: ModuleType) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Give the tests of a module that take any desk, under names of their own."""
    for name, test in vars(module).items():
        if name.startswith("test_") and name not in HTTP1_ALONE and "desk" in inspect.signature(test).parameters:
            yield f"test_{module.__name__.removeprefix('test_socket_')}_{name.removeprefix('test_')}", test


for module in MODULES:
    globals().update(desk_tests(module))
