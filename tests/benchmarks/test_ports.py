"""Ports for servers that have to be told theirs: nobody else is given them, by whatever way to a port."""

import socket
import subprocess
import sys

import pytest

from benchmarks.environment import ROOT
from benchmarks.load import HOST
from benchmarks.ports import candidates, claimed, free_port

pytestmark = [pytest.mark.real, pytest.mark.once]


def claims(port: int) -> bool:
    """Tell whether another process can have the port."""
    code = f"from benchmarks.ports import claimed; print(claimed({port}) is not None)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


def test_a_port_is_given_once():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert not claims(ports[-1])


def test_a_claim_ends_with_its_process():
    port = free_port_of_another_process()
    assert claims(port)


def free_port_of_another_process() -> int:
    """Return the port that a process was given that has ended since."""
    code = "from benchmarks.ports import free_port; print(free_port())"
    return int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)


def test_a_server_can_bind_it():
    with socket.create_server((HOST, free_port())) as server:
        assert not claims(server.getsockname()[1])


def test_what_shares_its_port_is_not_shared():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((HOST, 0))
        listener.listen()
        assert claimed(listener.getsockname()[1]) is None


def test_the_system_gives_none_of_them_to_those_that_ask_for_any():
    able = set(candidates())
    for _ in range(50):
        with socket.socket() as asked:
            asked.bind((HOST, 0))
            assert asked.getsockname()[1] not in able
