"""Workers as another user: what they become and when, what they have read before, and what is refused."""

import grp
import json
import os
import pwd
import signal
import sys
from pathlib import Path

import pytest
from other_user import IS_ROOT, OTHER, public_directory, reachable, unprivileged
from service import until

from trilithon.foundation.accounts import User, find_group, find_owner, find_user
from trilithon.foundation.errors import ConfigError
from trilithon.foundation.identity import Identity, identity_of
from trilithon.foundation.options import Options
from trilithon.net.self_signed import make_pem

pytestmark = [pytest.mark.real, pytest.mark.once]

PROGRAM = [sys.executable, "-m", "trilithon"]
GROUP = grp.getgrgid(OTHER.pw_gid).gr_name

# Says who it is when it is imported and when it is called, and writes a file of its own.
TELLING = """
import json, os, pathlib

def who():
    names = ("HOME", "USER", "LOGNAME")
    return [os.getresuid(), os.getresgid(), sorted(os.getgroups()), {name: os.environ.get(name) for name in names}]

imported = who()

def app(environ, start_response):
    start_response("200 OK", [])
    mask = os.umask(0)
    os.umask(mask)
    return [json.dumps({"imported": imported, "called": who(), "mask": mask}).encode()]
"""


@pytest.fixture
def place():
    """A directory with the application that everybody may read."""
    with public_directory() as directory:
        (directory / "telling.py").write_text(TELLING)
        yield directory


@pytest.fixture
def start(launch, place):
    """Return a function that starts a service there, with an interpreter that others can run."""

    def start_there(*arguments, command=None, **variables):
        command = command or (reachable(PROGRAM) if IS_ROOT else PROGRAM)
        return launch(*arguments, command=command, directory=place, **variables)

    return start_there


def told(service):
    """Return what the application says."""
    status, body = service.get()
    assert status == 200
    return json.loads(body)


def ids(pid):
    """Return the user and the group that a process runs as."""
    status = Path(f"/proc/{pid}").stat()
    return status.st_uid, status.st_gid


class TestRoot:
    """As root: workers become the user. Anybody else is refused, before anything is listened on."""

    def refused(self, service, option):
        """Tell whether this test's user is none who may; checks that it was told so."""
        if IS_ROOT:
            return False
        assert service.end() == 2
        assert f"{option} = " in service.log and "only root can give workers another user or group" in service.log
        assert "serves" not in service.log
        return True

    @pytest.mark.parametrize("how", [[], ["--preload"], ["--start-method", "spawn"]], ids=["fork", "preload", "spawn"])
    def test_workers_become_the_user_before_they_import(self, start, how):
        service = start("telling:app", "--user", OTHER.pw_name, "--workers", "2", *how)
        if self.refused(service, "user"):
            return
        service.started()
        answer = told(service)
        uid, gid = OTHER.pw_uid, OTHER.pw_gid
        groups = sorted({gid, *(each.gr_gid for each in grp.getgrall() if OTHER.pw_name in each.gr_mem)})
        variables = {"HOME": OTHER.pw_dir, "USER": OTHER.pw_name, "LOGNAME": OTHER.pw_name}
        expected = [[uid] * 3, [gid] * 3, groups, variables]
        assert answer["imported"] == answer["called"] == expected
        assert ids(service.pid) == (0, 0)
        assert service.stop() == 0

    def test_numbers_do_without_names_and_a_group_of_its_own_wins(self, start):
        service = start("telling:app", "--user", "54321", "--group", "54322")
        if self.refused(service, "user"):
            return
        service.started()
        assert told(service)["called"][:3] == [[54321] * 3, [54322] * 3, [54322]]
        assert service.stop() == 0

    def test_a_group_alone_leaves_the_user(self, start):
        service = start("telling:app", "--group", GROUP)
        if self.refused(service, "group"):
            return
        service.started()
        assert told(service)["called"][:2] == [[0] * 3, [OTHER.pw_gid] * 3]
        assert service.stop() == 0

    def test_a_reload_starts_workers_as_the_user_again(self, start):
        service = start("telling:app", "--user", OTHER.pw_name)
        if self.refused(service, "user"):
            return
        service.started()
        before = service.children()
        service.send(signal.SIGHUP)
        service.after("INFO reloaded")
        until(lambda: not set(before) & set(service.children()), "the old worker's end")
        assert told(service)["imported"][0] == [OTHER.pw_uid] * 3
        assert service.stop() == 0

    def test_what_the_user_may_not_read_was_read_before(self, start, place):
        pem = place / "site.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(make_pem(["localhost"]))
        service = start("telling:app", "--user", OTHER.pw_name, "--certfile", str(pem))
        if self.refused(service, "user"):
            return
        service.wait_for("serves .* on https://")
        assert service.stop() == 0
        assert "ERROR" not in service.log

    @pytest.mark.parametrize("how", [[], ["--preload"]], ids=["fork", "preload"])
    def test_a_directory_that_the_user_may_not_read_is_the_fault_of_the_load(self, start, place, how):
        place.chmod(0o700)
        service = start("telling:app", "--user", OTHER.pw_name, *how)
        if self.refused(service, "user"):
            return
        assert service.end() == 3
        assert f"app_dir = '.': user {OTHER.pw_name} may not read {place}; change its mode or the user" in service.log
        assert "Traceback" not in service.log

    def test_log_files_are_the_users_and_can_be_opened_anew(self, start, place):
        logs = place / "logs"
        logs.mkdir(mode=0o755)
        files = ["--log-file", str(logs / "site.log"), "--access-log-file", str(logs / "access.log")]
        service = start("telling:app", "--user", OTHER.pw_name, "--umask", "027", *files)
        if self.refused(service, "user"):
            return
        site, access = logs / "site.log", logs / "access.log"
        line = until(lambda: site.exists() and (" serves " in site.read_text()) and site.read_text(), "the start")
        service.port = int(line.partition("127.0.0.1:")[2].partition(",")[0])
        assert told(service)["mask"] == 0o027
        until(access.read_text, "a line of the access log")
        for path in (site, access):
            path.rename(f"{path}.1")
        service.send(signal.SIGUSR1)
        until(lambda: site.exists() and access.exists(), "the new files")
        # The worker hears of it later than the supervisor has made the files.
        until(lambda: told(service) and access.read_text(), "a line in the new file")
        for path in (site, access):
            assert (path.stat().st_uid, path.stat().st_gid) == (OTHER.pw_uid, OTHER.pw_gid)
            assert path.stat().st_mode & 0o777 == 0o640
        assert service.stop() == 0
        assert " stopping\n" in site.read_text()
        assert service.log == ""


class TestRefusals:
    """What is said where it cannot be, before anything is listened on."""

    @pytest.mark.parametrize(("lacking", "option"), [("root", "user"), ("capabilities", "group")])
    def test_those_who_may_not_are_told_what_to_do(self, start, lacking, option):
        capable = IS_ROOT and lacking == "capabilities"
        # The root of a container may have been left without them.
        command = ["setpriv", "--bounding-set=-setuid", *PROGRAM] if capable else unprivileged(PROGRAM)
        extra = ["--group", "54321"] if option == "user" else []
        service = start("telling:app", f"--{option}", "54321", *extra, command=command)
        assert service.end() == 2
        assert f"trilithon: {option} = '54321': only root can give workers another user or group" in service.log
        assert "serves" not in service.log and "Traceback" not in service.log

    def test_ones_own_user_and_group_need_no_privilege(self, start):
        name = pwd.getpwuid(OTHER.pw_uid if IS_ROOT else os.geteuid()).pw_name
        flags = ["--user", name, "--group", GROUP if IS_ROOT else str(os.getegid())]
        service = start("telling:app", *flags, command=unprivileged(PROGRAM)).started()
        assert told(service)["called"][0] == [OTHER.pw_uid if IS_ROOT else os.geteuid()] * 3
        assert service.stop() == 0

    def test_what_does_not_exist_stops_the_start(self, start):
        service = start("telling:app", "--user", "nobody-there")
        assert service.end() == 2
        assert "user = 'nobody-there': this system has no such user; create it, or give a number" in service.log
        assert "serves" not in service.log and "Traceback" not in service.log

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"group": "nobody-there"}, "group = 'nobody-there': this system has no such group; create it"),
            ({"user": "54321"}, "user = '54321': has no entry with a group of its own; give the option group"),
            ({"user": "4294967295"}, "user = '4294967295': is no id of a user or group"),
        ],
    )
    def test_what_does_not_exist_is_named(self, options, message):
        with pytest.raises(ConfigError) as fault:
            identity_of(Options(**options))
        assert str(fault.value).startswith(message)


def test_a_mask_without_a_user_needs_no_supervisor(start):
    service = start("telling:app", "--umask", "027").started()
    assert told(service)["mask"] == 0o027
    assert service.children() == []
    assert service.stop() == 0


def test_names_and_numbers_stand_for_the_same():
    assert find_user(OTHER.pw_name, "user") == find_user(str(OTHER.pw_uid), "user")
    assert find_user("54321", "user") == User(54321)
    assert find_group(GROUP, "group") == find_group(str(OTHER.pw_gid), "group") == OTHER.pw_gid
    assert find_owner(f"{OTHER.pw_name}:{GROUP}", "unix_owner") == (OTHER.pw_uid, OTHER.pw_gid)
    assert find_owner(f":{GROUP}", "unix_owner") == (-1, OTHER.pw_gid)
    with pytest.raises(ConfigError, match="no such group"):
        find_owner(f"{OTHER.pw_name}:nobody-there", "unix_owner")


def test_who_one_is_already_is_not_switched_to():
    identity = identity_of(Options(user=str(os.geteuid()), group=str(os.getegid()), umask="077"))
    assert not identity.is_switched
    assert identity.umask == 0o077
    assert identity.owner() == (-1, -1)
    assert identity_of(Options()).umask == -1


def test_a_home_is_set_only_where_the_user_has_one():
    named = Identity(User(54321, 54321, "web", "/srv/web"), 54321, -1, True)
    assert named.variables({"HOME": "/", "USER": "web"}) == {"HOME": "/srv/web", "LOGNAME": "web"}
    assert Identity(User(54321), 54321, -1, True).variables({"HOME": "/"}) == {}
