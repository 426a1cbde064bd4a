"""Sockets to listen on: mode and owner of Unix sockets, abstract names, both families of IP, what is left behind."""

import contextlib
import os
import socket
import stat

import pytest

from trilithon.foundation.addresses import parse_address
from trilithon.foundation.errors import BindError, ConfigError
from trilithon.foundation.options import Options
from trilithon.net.binding import bind_all, socket_files, spell, unix_name

pytestmark = pytest.mark.real


@contextlib.contextmanager
def bound(*addresses, **options):
    """Listen on addresses, and close the sockets in the end."""
    sockets = bind_all(Options(bind=addresses, **options))
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def reaches(address, family=socket.AF_INET):
    """Tell whether somebody listens."""
    with socket.socket(family) as client:
        client.settimeout(20)
        return client.connect_ex(address) == 0


@pytest.mark.parametrize("mode", ["600", "660", "0666", "000"])
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_unix_socket_has_the_mode_asked_for_whatever_the_mask(tmp_path, mode, mask):
    before = os.umask(mask)
    try:
        with bound(f"unix:{tmp_path}/site.sock", unix_mode=mode):
            assert stat.S_IMODE(os.stat(tmp_path / "site.sock").st_mode) == int(mode, 8)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_without_a_mode_the_mask_decides(tmp_path):
    before = os.umask(0o027)
    try:
        with bound(f"unix:{tmp_path}/site.sock"):
            assert stat.S_IMODE(os.stat(tmp_path / "site.sock").st_mode) == 0o750
    finally:
        os.umask(before)


@pytest.mark.parametrize(("owner", "ids"), [("12", (12, 0)), ("12:34", (12, 34)), (":34", (0, 34))])
def test_root_gives_a_unix_socket_away_and_others_are_told_that_they_cannot(tmp_path, owner, ids):
    address = f"unix:{tmp_path}/site.sock"
    if os.geteuid() == 0:
        with bound(address, unix_owner=owner, unix_mode="660"):
            status = os.stat(tmp_path / "site.sock")
            assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (*ids, 0o660)
    else:
        with (
            pytest.raises(BindError, match="only root may give a socket to somebody else"),
            bound(address, unix_owner=owner),
        ):
            pass
        assert os.listdir(tmp_path) == []


def test_an_owner_that_does_not_exist_is_refused(tmp_path):
    with (
        pytest.raises(ConfigError, match=r"unix_owner.*no such user"),
        bound(f"unix:{tmp_path}/a", unix_owner="nobody-there"),
    ):
        pass


def test_a_server_that_ends_leaves_the_socket_of_the_next(tmp_path):
    address = parse_address(f"unix:{tmp_path}/site.sock")
    with bound(str(address)) as sockets:
        os.utime(address.path, (1, 1))  # as if it had been bound long ago
        files = socket_files([address])
        sockets[0].close()  # no longer listens, though it may not be at its end for a while
        with bound(str(address)):
            for file in files:
                file.remove()
            assert reaches(address.path, socket.AF_UNIX)
            for file in socket_files([address]):
                file.remove()
                file.remove()
        assert os.listdir(tmp_path) == []


def test_a_socket_in_use_is_not_taken_even_when_its_backlog_is_full(tmp_path):
    path = f"{tmp_path}/site.sock"
    with bound(f"unix:{path}", backlog=1), contextlib.ExitStack() as stack:
        while True:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            try:
                client.connect(path)
            except BlockingIOError:
                break
        with pytest.raises(BindError, match="choose another path"), bound(f"unix:{path}"):
            pass
        assert os.path.exists(path)


def test_a_directory_that_is_missing_is_named_as_the_fault(tmp_path):
    with pytest.raises(BindError, match="its directory does not exist"), bound(f"unix:{tmp_path}/none/site.sock"):
        pass


def test_an_abstract_socket_has_a_name_and_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = f"trilithon-{os.getpid()}"
    with bound(f"unix:@{name}") as sockets:
        assert reaches(f"\0{name}", socket.AF_UNIX)
        assert spell(sockets[0]) == f"unix:@{name}"
        assert unix_name(sockets[0].getsockname()) == f"@{name}"
        assert os.listdir(tmp_path) == []
        assert socket_files([parse_address(f"unix:@{name}")]) == []
        with pytest.raises(BindError, match="choose another path"), bound(f"unix:@{name}"):
            pass
    assert not reaches(f"\0{name}", socket.AF_UNIX)


def test_an_abstract_socket_cannot_be_protected_and_so_is_refused_with_a_mode():
    with pytest.raises(ConfigError, match="no owner and no mode"), bound("unix:@site", unix_mode="600"):
        pass


@pytest.mark.parametrize("address", [":0", "[::]:0"])
def test_both_families_reach_a_socket_for_every_interface(address):
    with bound(address) as sockets:
        port = spell(sockets[0])[1]
        assert reaches(("127.0.0.1", port))
        assert reaches(("::1", port), socket.AF_INET6)


def test_one_for_all_of_ipv4_is_for_ipv4_alone():
    with bound("0.0.0.0:0") as sockets:
        port = spell(sockets[0])[1]
        assert reaches(("127.0.0.1", port))
        assert not reaches(("::1", port), socket.AF_INET6)


@pytest.mark.parametrize("order", [1, -1])
def test_each_family_may_have_a_socket_of_its_own_on_one_port(order):
    with bound("0.0.0.0:0") as sockets:
        port = spell(sockets[0])[1]
    with bound(*[f"0.0.0.0:{port}", f"[::]:{port}"][::order]) as sockets:
        assert {sock.family for sock in sockets} == {socket.AF_INET, socket.AF_INET6}
        assert reaches(("127.0.0.1", port))
        assert reaches(("::1", port), socket.AF_INET6)


def test_a_bind_that_fails_leaves_nothing_of_those_before(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(BindError, match=f"127.0.0.1:{port}"),
            bound(f"unix:{tmp_path}/site.sock", f"127.0.0.1:{port}"),
        ):
            pass
    assert os.listdir(tmp_path) == []
