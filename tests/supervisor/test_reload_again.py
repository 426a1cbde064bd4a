"""A reload that is asked for while another one is under way: the last code counts, whatever the other one finds."""

import os
import signal

import pytest
from service import WAYS, children, until

pytestmark = [pytest.mark.real, pytest.mark.once]


def site(answer, at_import="", in_lifespan=""):
    """Return the source of a site of both interfaces, which does something at its import or its start-up."""
    return f"""
import asyncio, os, time
{at_import}

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        {in_lifespan or "pass"}
        await send({{"type": "lifespan.startup.complete"}})
        await receive()
        await send({{"type": "lifespan.shutdown.complete"}})
        return
    await send({{"type": "http.response.start", "status": 200}})
    await send({{"type": "http.response.body", "body": b"{answer}"}})

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"{answer}"]
"""


SAYS = "os.write(2, b'the old one starts\\n')"
HANGS = f"{SAYS}; time.sleep(1000)"
BREAKS = f"{SAYS}; open('gate').read(); raise ValueError('old and broken')"
WAITS = f"{SAYS}; await asyncio.sleep(1000)"


@pytest.fixture(params=["shop:app", "shop:wsgi"])
def target(request):
    """The application over either interface."""
    return request.param


@pytest.fixture
def start(launch, write):
    """Return a function that starts a service of `first`, and has it reload `second` until it says that it starts."""

    def started(target, way, second):
        write({"shop.py": site("first")})
        service = launch(target, "--workers", "2", *WAYS[way]).started()
        write({"shop.py": second})
        service.send(signal.SIGHUP)
        service.wait_for("the old one starts")
        return service

    return started


def workers(service):
    """Return the process ids of the workers, whoever is their parent."""
    parents = service.children()
    return parents if "--preload" not in service.process.args else [pid for each in parents for pid in children(each)]


def all_answer(service, answer):
    """Wait until nobody answers otherwise and there are two workers, and see that it stays so."""
    until(lambda: {service.get()[1] for _ in range(4)} == {answer}, f"answers {answer!r}")
    until(lambda: len(workers(service)) == 2, "the end of all others")
    assert {service.get()[1] for _ in range(8)} == {answer}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("second", [site("second", HANGS), site("second", BREAKS)], ids=["hangs", "breaks"])
def test_mended_code_takes_the_place_of_one_that_does_not_start(start, write, tmp_path, target, way, second):
    os.mkfifo(tmp_path / "gate")
    service = start(target, way, second)
    write({"shop.py": site("third")})
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded", 2)
    all_answer(service, "third")
    assert service.stop() == 0
    assert "not reloaded" not in service.log and "ERROR" not in service.log


@pytest.mark.parametrize("way", WAYS)
def test_mended_code_takes_the_place_of_one_whose_start_up_hangs(start, write, way):
    service = start("shop:app", way, site("second", in_lifespan=WAITS))
    write({"shop.py": site("third")})
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded", 2)
    all_answer(service, "third")
    assert service.stop() == 0
    assert "not reloaded" not in service.log


@pytest.mark.parametrize("way", WAYS)
def test_when_the_last_one_fails_all_is_as_before_the_first(start, write, target, way):
    service = start(target, way, site("second", HANGS))
    write({"shop.py": site("third", "raise ValueError('new and broken')")})
    service.send(signal.SIGHUP)
    service.wait_for("not reloaded, the workers that were there go on: (?s:.*?)new and broken", 2)
    all_answer(service, "first")
    write({"shop.py": site("fourth")})
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded")
    all_answer(service, "fourth")
    assert service.stop() == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_is_lost_meanwhile_comes_back_with_the_last_code(start, write, target, way):
    service = start(target, way, site("second", HANGS))
    os.kill(workers(service)[0], signal.SIGKILL)
    service.wait_for("ended by SIGKILL")
    write({"shop.py": site("third")})
    service.send(signal.SIGHUP)
    service.wait_for("INFO reloaded", 2)
    all_answer(service, "third")
    assert service.stop() == 0
