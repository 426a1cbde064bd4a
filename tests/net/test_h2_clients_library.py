"""HTTP/2 with Python's clients: the h2 library doing random things, and httpx."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256

import httpx
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from .h2_digest import Place, content, digest_of, open_place
from .h2_peer import DEADLINE_S
from .h2_site import SITES
from .tls_client import Trust

pytestmark = pytest.mark.real

MIB = 2**20
KINDS = pytest.mark.parametrize("kind", SITES)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


class Library:
    """The h2 library on a blocking socket; `bodies` is what came for each stream, `ended` the streams that are over."""

    def __init__(self, place: Place, **settings: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", place.site.port), timeout=DEADLINE_S)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding=False))
        self.h2.initiate_connection()
        self.unacknowledged = 1
        self.bodies: dict[int, bytearray] = {}
        self.statuses: dict[int, bytes] = {}
        self.trailers: dict[int, list[tuple[bytes, bytes]]] = {}
        self.ended: set[int] = set()
        self.reset: set[int] = set()
        self.frames = 0
        self.echoes = False
        self.credits: list[tuple[int, int]] = []
        self.flush()
        self.change(**settings)

    def change(self, **settings: int) -> None:
        """Change settings, one frame at a time: the library takes an acknowledgement for that of all it has sent."""
        while self.unacknowledged:
            self.listen()
        if settings:
            self.h2.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
            self.unacknowledged += 1
            self.flush()

    def ask(self, method: str, path: str, *fields: tuple[bytes, bytes], end: bool = True) -> int:
        """Send the head of a request and return its stream."""
        stream_id: int = self.h2.get_next_available_stream_id()
        pairs = [(b":method", method.encode()), (b":scheme", b"http"), (b":path", path.encode()), *fields]
        self.h2.send_headers(stream_id, [*pairs[:3], (b":authority", b"a.test"), *fields], end_stream=end)
        self.bodies[stream_id] = bytearray()
        self.flush()
        return stream_id

    def flush(self) -> None:
        """Send what the library has to say."""
        self.socket.sendall(self.h2.data_to_send())

    def listen(self) -> None:
        """Receive once, and credit what came."""
        data = self.socket.recv(262144)
        assert data, "the connection ended"
        for event in self.h2.receive_data(data):
            self.hear(event)
        self.credit()
        self.flush()

    def credit(self) -> None:
        """Give back what came: as the library does, or each frame by its size, as many clients written by hand do."""
        for stream_id, size in self.credits:
            if not self.echoes:
                self.h2.acknowledge_received_data(size, stream_id)
                continue
            self.h2.increment_flow_control_window(size)
            if stream_id not in self.ended:
                self.h2.increment_flow_control_window(size, stream_id)
        self.credits.clear()

    def hear(self, event: object) -> None:
        """Keep what an event says."""
        match event:
            case ResponseReceived():
                self.statuses[event.stream_id] = dict(event.headers)[b":status"]
            case DataReceived():
                self.frames += 1
                self.bodies[event.stream_id] += event.data
                if event.flow_controlled_length and event.stream_id not in self.reset:
                    self.credits.append((event.stream_id, event.flow_controlled_length))
            case SettingsAcknowledged():
                self.unacknowledged -= 1
            case TrailersReceived():
                self.trailers[event.stream_id] = list(event.headers)
            case StreamEnded() | StreamReset():
                self.ended.add(event.stream_id)
            case ConnectionTerminated():
                raise AssertionError(f"the server leaves: {event.error_code} {event.additional_data!r}")

    def wait(self, stream_id: int) -> bytes:
        """Wait for the end of a stream and return its content."""
        while stream_id not in self.ended:
            self.listen()
        return bytes(self.bodies[stream_id])


@pytest.fixture(scope="module", params=SITES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Serve each kind of site."""
    with open_place(request.param, None) as opened:
        yield opened


@pytest.mark.spec("H2-FLOW-03", "H2-FLOW-04", "H2-STR-06", "H2-STR-11", "H2-CONN-11", "H2-HDR-01")
@pytest.mark.parametrize("seed", range(6))
def test_random_uploads(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    client = Library(place, initial_window_size=chance.choice([1000, 65535, MIB]))
    with client.socket:
        left: dict[int, bytes] = {}
        wanted: dict[int, bytes] = {}
        while len(wanted) < 25 or left:
            if len(wanted) < 25 and chance.random() < 0.4:
                body = chance.randbytes(chance.choice([0, 1, 5000, 70_000, 300_000]))
                fields = [(b"x-%d" % chance.randrange(9), b"v" * chance.randrange(200)) for _ in range(3)]
                stream_id = client.ask("POST", "/up", *fields, end=not body)
                wanted[stream_id] = body
                if body:
                    left[stream_id] = body
            if chance.random() < 0.05:
                client.change(header_table_size=chance.choice([0, 100, 4096]))
            for stream_id in list(left):
                send_some(client, stream_id, left, chance)
            client.flush()
            if left and all(client.h2.local_flow_control_window(stream_id) < 300 for stream_id in left):
                client.listen()
        for stream_id, body in wanted.items():
            told = json.loads(client.wait(stream_id))
            assert (told["size"], told["digest"]) == (len(body), sha256(body).hexdigest())
            assert client.statuses[stream_id] == b"200"


def send_some(client: Library, stream_id: int, left: dict[int, bytes], chance: random.Random) -> None:
    """Send a piece of a body, padded or not, and the last one with trailers or without."""
    padding = chance.choice([None, 0, 200])
    room = min(client.h2.local_flow_control_window(stream_id), client.h2.max_outbound_frame_size)
    room = min(room - (0 if padding is None else padding + 1), chance.randrange(1, 16384))
    if room <= 0:
        return
    piece, rest = left[stream_id][:room], left[stream_id][room:]
    trailers = not rest and chance.random() < 0.3
    client.h2.send_data(stream_id, piece, end_stream=not rest and not trailers, pad_length=padding)
    if trailers:
        client.h2.send_headers(stream_id, [(b"x-sum", b"42")], end_stream=True)
    if rest:
        left[stream_id] = rest
    else:
        del left[stream_id]


@pytest.mark.spec("H2-FLOW-03", "H2-STR-09", "A-DISC-10")
def test_random_downloads_and_resets(place: Place) -> None:
    chance = random.Random(1)
    client = Library(place, initial_window_size=20_000)
    with client.socket:
        sizes: dict[int, int] = {}
        for _ in range(40):
            size = chance.choice([0, 1, 50_000, 400_000])
            stream_id = client.ask("GET", f"/down/{size}")
            if chance.random() < 0.3:
                client.h2.reset_stream(stream_id)
                client.reset.add(stream_id)
                client.flush()
            else:
                sizes[stream_id] = size
        for stream_id, size in sizes.items():
            assert sha256(client.wait(stream_id)).hexdigest() == digest_of(size)


@pytest.mark.spec("H2-DOS-10", "H2-FLOW-03")
def test_a_client_that_credits_each_frame_by_its_size(place: Place) -> None:
    client = Library(place)
    client.echoes = True
    size = 12 * MIB
    with client.socket:
        stream_id = client.ask("GET", f"/down/{size}")
        assert sha256(client.wait(stream_id)).hexdigest() == digest_of(size)
    assert client.frames < size / 2000


@pytest.mark.parametrize("kind", ["asgi", "asgi-mixed"])
@pytest.mark.spec("A-XTRAIL-01", "H2-STR-11")
def test_trailers_are_heard(kind: str) -> None:
    with open_place(kind, None) as place:
        client = Library(place)
        with client.socket:
            stream_id = client.ask("GET", "/trailers", (b"te", b"trailers"))
            assert client.wait(stream_id) == b"followed by trailers"
            assert client.trailers[stream_id] == [(b"x-sum", b"42")]


async def ask_much(place: Place, http: httpx.AsyncClient) -> None:
    """Get, send and receive at once over one connection."""

    async def pieces() -> AsyncIterator[bytes]:
        for block in content(500_000):
            yield block

    async def upload() -> None:
        told = (await http.post(place.url + "/up", content=pieces())).json()
        assert (told["version"], told["size"], told["digest"]) == ("2", 500_000, digest_of(500_000))

    async def download() -> None:
        digest = sha256()
        async with http.stream("GET", f"{place.url}/down/{MIB}") as reply:
            async for block in reply.aiter_raw():
                digest.update(block)
        assert digest.hexdigest() == digest_of(MIB)

    async def get(at: int) -> None:
        reply = await http.get(f"{place.url}/get?{at}")
        assert (reply.http_version, reply.json()["query"]) == ("HTTP/2", str(at))

    await asyncio.gather(*[get(at) for at in range(60)])
    await asyncio.gather(*[download() for _ in range(3)])
    # By itself: httpcore 1.0 waits for a window that another of its requests may have heard of already.
    await upload()
    await asyncio.gather(*[get(at) for at in range(60)])


@KINDS
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.spec("A-SCOPE-23", "W-CALL-06", "H2-CONN-03")
def test_httpx(kind: str, secure: bool, trust: Trust) -> None:
    async def run(place: Place) -> None:
        verify = trust.context("h2", "http/1.1") if secure else False
        async with httpx.AsyncClient(
            http1=secure, http2=True, verify=verify, timeout=DEADLINE_S * 3, trust_env=False
        ) as http:
            await ask_much(place, http)

    with open_place(kind, trust if secure else None) as place:
        asyncio.run(run(place))
