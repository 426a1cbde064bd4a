"""The traffic that counts losses, what replaces workers, and the words that start servers with two of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.catalogue import ALL_SERVERS
from benchmarks.replacing_cases import REPLACING_CASES, ReplacingCase
from benchmarks.replacing_trial import figures_of, with_two
from benchmarks.servers import Plan, Server
from benchmarks.traffic import Traffic

pytestmark = [pytest.mark.real, pytest.mark.once]

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ENOUGH = 6


@contextlib.asynccontextmanager
async def server_that(answer: list[bytes]) -> AsyncIterator[int]:
    """Answer the requests of each connection with these, one after the other, then close it; give the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            for each in answer:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(each)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def traffic_at(answers: list[bytes], **mix: int) -> Traffic:
    """Run traffic until something has come of some requests."""
    async with server_that(answers) as port:
        traffic = Traffic(port, mix)

        def look() -> None:
            traffic.stopping = traffic.total + len(traffic.lost) >= ENOUGH

        lose = traffic.lose

        def lose_and_look(kind: str, why: object) -> None:
            lose(kind, why)
            look()

        traffic.on_answer = look
        traffic.lose = lose_and_look  # type: ignore[method-assign]
        await asyncio.wait_for(traffic.run(), 20)
    return traffic


def test_answers_are_counted_by_what_they_say() -> None:
    traffic = asyncio.run(traffic_at([ANSWER] * 100, steady=1))
    assert not traffic.lost
    assert traffic.answered == {"steady": ENOUGH}
    assert traffic.bodies == {b"ok": ENOUGH}


@pytest.mark.parametrize("last", [b"", ANSWER[:-1], ANSWER.replace(b"200", b"503")])
def test_what_has_no_whole_and_right_answer_is_lost(last: bytes) -> None:
    traffic = asyncio.run(traffic_at([ANSWER, last], steady=1))
    assert traffic.answered["steady"] == len(traffic.lost) == ENOUGH / 2


def test_a_close_that_was_announced_loses_nothing() -> None:
    closing = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    traffic = asyncio.run(traffic_at([ANSWER, closing], steady=1, fresh=1))
    assert not traffic.lost


def test_requests_that_were_sent_behind_the_last_answer_are_lost() -> None:
    closing = ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    traffic = asyncio.run(traffic_at([closing], ahead=1))
    assert len(traffic.lost) == 3 * traffic.answered["ahead"] > 0


def test_figures_tell_streams_that_broke_from_those_that_were_ended() -> None:
    ends = {"socket: closed with 1012": 2, "events: ended": 1, "events: broken": 4, "socket: refused": 1}
    figures = figures_of({"answered": {"fresh": 3}, "ends": ends, "lost": ["fresh: refused, gone", "post: x"]}, 5, 2.0)
    assert (figures["streams_ended"], figures["streams_broken"]) == (3, 5)
    assert (figures["answered"], figures["lost"], figures["refused"], figures["replaced"]) == (3, 2, 1, 5)


@pytest.mark.parametrize("case", REPLACING_CASES, ids=lambda case: case.name)
def test_every_server_is_told_of_its_workers_once(case: ReplacingCase) -> None:
    for server in (each for each in ALL_SERVERS if each.name in case.servers):
        words = words_of(server)
        counted = [words[index + 1] for index, word in enumerate(words) if word in ("-w", "--workers")]
        assert counted == ["2"], words


def words_of(server: Server) -> list[str]:
    """Return the words that start a server with two workers."""
    plan = Plan(app="app:app", port=1, threads=8, bin=Path("bin"), floor=Path("floor"))
    return with_two(server, 2).command(plan)
