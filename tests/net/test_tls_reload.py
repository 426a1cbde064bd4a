"""Changed certificates are loaded without a restart, and what cannot be loaded changes nothing."""

import logging
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from trilithon.foundation.options import Options
from trilithon.net.certificates import TlsStore, open_store
from trilithon.net.tls import TlsError

from .tls_authority import Authority, Signed
from .tls_memory import MemoryClient


class Site:
    """Certificate files in a directory, a store that was made of them, and its clock."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.authority = Authority()
        self.trusting = self.authority.trusting()
        self.directory = directory
        self.certfile = directory / "cert.pem"
        self.keyfile = directory / "key.pem"
        self.first = self.authority.server("localhost")
        self.write(self.first)
        self.options = Options(certfile=str(self.certfile), keyfile=str(self.keyfile), cert_reload_s=5.0, **options)
        self.store: TlsStore = open_store(self.options, ["h2"])
        self.now = 100.0

    def write(self, signed: Signed) -> None:
        """Put a pair into the files."""
        replace(self.certfile, signed.pem)
        replace(self.keyfile, signed.key_pem)

    def look(self) -> bool:
        """Let the next look at the files be due, and made."""
        self.now += 5.0
        return self.store.reload_if_changed(self.now)

    def client(self, **more: Any) -> MemoryClient:
        """Return a client that is connected."""
        return MemoryClient(self.store, self.trusting, **more).shake()

    def served(self) -> str | None:
        """Return the certificate that a new client gets."""
        return self.client().channel.facts().server_cert


def replace(path: Path, text: str) -> None:
    """Put a new file in the place of an old one."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Serve one pair of files."""
    return Site(tmp_path)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Gather what the log is told from now on."""
    caplog.set_level(logging.INFO, "trilithon.error")
    return caplog


def test_nothing_is_loaded_while_nothing_changes(site: Site, said: pytest.LogCaptureFixture) -> None:
    table = site.store.table
    assert not any(site.look() for _ in range(5))
    assert site.store.table is table
    assert not said.records


def test_a_changed_pair_is_served_to_new_clients(site: Site, said: pytest.LogCaptureFixture) -> None:
    old = site.client()
    assert site.served() == site.first.pem
    second = site.authority.server("localhost")
    site.write(second)
    assert site.look()
    assert site.served() == second.pem
    assert old.answer(b"still here") == b"still here"
    old.send(b"and heard")
    assert old.received == b"and heard"
    assert old.channel.facts().server_cert == site.first.pem
    assert [record.levelname for record in said.records] == ["INFO"]
    assert not site.look()


def test_a_client_in_the_middle_of_its_handshake_goes_on(site: Site) -> None:
    client = MemoryClient(site.store, site.authority.trusting())
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    client.deliver()
    site.write(site.authority.server("localhost"))
    assert site.look()
    client.shake()
    assert client.channel.facts().server_cert == site.first.pem


def test_looks_are_not_made_more_often_than_asked_for(site: Site) -> None:
    assert not site.look()
    site.write(site.authority.server("localhost"))
    assert not site.store.reload_if_changed(site.now + 4.9)
    assert site.store.reload_if_changed(site.now + 5.0)


def test_zero_means_never(tmp_path: Path) -> None:
    site = Site(tmp_path)
    store = open_store(Options(certfile=str(site.certfile), keyfile=str(site.keyfile), cert_reload_s=0), [])
    site.write(site.authority.server("localhost"))
    assert not any(store.reload_if_changed(at) for at in (1e3, 1e6))


def test_a_file_that_is_written_in_place_counts_as_changed(site: Site) -> None:
    other = site.authority.server("localhost")
    site.certfile.write_text(other.pem)
    site.keyfile.write_text(other.key_pem)
    os.utime(site.certfile, ns=(7, 7))
    assert site.look()
    assert site.served() == other.pem


def test_another_file_of_the_same_age_and_size_counts_as_changed(site: Site) -> None:
    stamps = {path: path.stat() for path in (site.certfile, site.keyfile)}
    while True:
        other = site.authority.server("localhost")
        if (len(other.pem), len(other.key_pem)) == (len(site.first.pem), len(site.first.key_pem)):
            break
    site.write(other)
    for path, was in stamps.items():
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert site.look()
    assert site.served() == other.pem


def test_a_key_that_may_be_read_at_last_is_loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    second = site.authority.server("localhost")
    site.write(second)
    site.keyfile.chmod(0o000)
    with monkeypatch.context() as unprivileged:
        if os.geteuid() == 0:  # whom no mode keeps from reading
            load = ssl.SSLContext.load_cert_chain

            def refuse(context: ssl.SSLContext, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
                if not os.stat(keyfile or certfile).st_mode & 0o444:
                    raise PermissionError(13, "Permission denied")
                load(context, certfile, keyfile, password)

            unprivileged.setattr(ssl.SSLContext, "load_cert_chain", refuse)
        assert not any(site.look() for _ in range(3))
        assert site.served() == site.first.pem
        site.keyfile.chmod(0o400)
        assert site.look()
    assert site.served() == second.pem


def test_half_a_pair_breaks_nothing_and_is_not_worth_a_word(site: Site, said: pytest.LogCaptureFixture) -> None:
    second = site.authority.server("localhost")
    replace(site.certfile, second.pem)
    assert not site.look()
    assert site.served() == site.first.pem
    replace(site.keyfile, second.key_pem)
    assert site.look()
    assert site.served() == second.pem
    assert [record.levelname for record in said.records] == ["INFO"]


def test_what_cannot_be_loaded_is_said_once(site: Site, said: pytest.LogCaptureFixture) -> None:
    for text in ("nothing", "still nothing"):
        replace(site.certfile, text)
        assert not any(site.look() for _ in range(4))
        assert site.served() == site.first.pem
    site.certfile.unlink()
    assert not any(site.look() for _ in range(4))
    errors = [record.getMessage() for record in said.records]
    assert len(errors) == 3
    assert all(str(site.certfile) in error and "old ones stay in use" in error for error in errors)
    site.write(site.first)
    assert site.look()
    assert len(said.records) == 4


def test_sessions_outlive_new_certificates(site: Site) -> None:
    first = site.client()
    first.answer(b"x")
    site.write(site.authority.server("localhost"))
    assert site.look()
    assert site.client(session=first.tls.session).tls.session_reused


def test_sessions_end_with_the_names_of_their_certificate(site: Site) -> None:
    first = site.client()
    first.answer(b"x")
    site.write(site.authority.server("localhost", "other.example"))
    assert site.look()
    assert not site.client(session=first.tls.session).tls.session_reused


def test_a_directory_gains_and_loses_certificates(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "sites"
    directory.mkdir()
    authority = Authority()
    first = write_into(directory, authority.server("a.example"))
    site = Site(tmp_path, cert_dir=str(directory))
    context = authority.trusting()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def served(name: str) -> str | None:
        return MemoryClient(site.store, context, name).shake().channel.facts().server_cert

    assert served("a.example") == first.pem
    for _ in range(2):
        second = write_into(directory, authority.server("b.example"))
        assert site.look()
        assert served("b.example") == second.pem
    (directory / "a.example.pem").unlink()
    assert site.look()
    assert served("a.example") == site.first.pem
    # As certbot adds a site: nothing is wrong with a directory that waits for its files.
    folder = directory / "c.example"
    folder.mkdir()
    site.look()
    third = authority.server("c.example")
    (folder / "privkey.pem").write_text(third.key_pem)
    site.look()
    (folder / "fullchain.pem").write_text(third.pem)
    assert site.look()
    assert served("c.example") == third.pem
    assert {record.levelname for record in said.records} == {"INFO"}
    fourth = authority.server("c.example")
    (folder / "fullchain.pem").write_text(fourth.pem)
    (folder / "privkey.pem").write_text(fourth.key_pem)
    assert site.look()
    assert served("c.example") == fourth.pem
    # What is none of the certificates is not worth a word.
    said.clear()
    (folder / "README").write_text("news")
    (directory / ".hidden.pem").write_text("nothing")
    assert not site.look()
    assert not said.records


def test_what_has_not_changed_is_not_loaded_again(tmp_path: Path) -> None:
    directory = tmp_path / "sites"
    directory.mkdir()
    authority = Authority()
    for name in ("a.example", "b.example"):
        write_into(directory, authority.server(name))
    site = Site(tmp_path, cert_dir=str(directory))
    before = dict(site.store.table.exact)
    write_into(directory, authority.server("b.example"))
    assert site.look()
    after = site.store.table.exact
    assert [name for name in before if before[name] is not after[name]] == ["b.example"]
    assert site.store.table.contexts[0] is before["localhost"]


@pytest.mark.parametrize("bad", ["damaged", "new and damaged", "another's key", "no key", "gone"])
def test_one_that_cannot_be_used_holds_up_no_other(tmp_path: Path, said: pytest.LogCaptureFixture, bad: str) -> None:
    directory = tmp_path / "sites"
    directory.mkdir()
    authority = Authority()
    pairs = {}
    for name in ("a.example", "b.example", "c.example"):
        pairs[name] = authority.server(name)
        replace(directory / f"{name}.crt", pairs[name].pem)
        replace(directory / f"{name}.key", pairs[name].key_pem)
    site = Site(tmp_path, cert_dir=str(directory))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def served(name: str) -> str | None:
        return MemoryClient(site.store, context, name).shake().channel.facts().server_cert

    spoiled = directory / "b.example.crt"
    if bad == "damaged":
        replace(spoiled, "nothing")
    elif bad == "new and damaged":
        spoiled = directory / "aa.example.pem"
        replace(spoiled, "nothing")
    elif bad == "another's key":
        spoiled = directory / "b.example.key"
        replace(spoiled, pairs["a.example"].key_pem)
    elif bad == "no key":
        (directory / "b.example.key").unlink()
    else:
        (directory / "b.example.key").unlink()
        spoiled.unlink()
    for name in ("a.example", "c.example"):
        pairs[name] = authority.server(name)
        replace(directory / f"{name}.crt", pairs[name].pem)
        replace(directory / f"{name}.key", pairs[name].key_pem)
    assert site.look()
    assert served("a.example") == pairs["a.example"].pem
    assert served("c.example") == pairs["c.example"].pem
    assert served("b.example") == (site.first.pem if bad == "gone" else pairs["b.example"].pem)
    assert not any(site.look() for _ in range(3))
    errors = [record.getMessage() for record in said.records if record.levelname == "ERROR"]
    assert len(errors) == (bad != "gone")
    assert all(str(spoiled) in error for error in errors)
    # Once it is mended it is served too.
    pairs["b.example"] = authority.server("b.example")
    replace(directory / "b.example.crt", pairs["b.example"].pem)
    replace(directory / "b.example.key", pairs["b.example"].key_pem)
    assert site.look()
    assert served("b.example") == pairs["b.example"].pem


def write_into(directory: Path, signed: Signed) -> Signed:
    """Write a certificate with its key into a directory."""
    replace(directory / f"{signed.certificate.subject.rfc4514_string()[3:]}.pem", signed.pem + signed.key_pem)
    return signed


def test_links_that_lead_elsewhere_count_as_changed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    second = site.authority.server("localhost")
    (tmp_path / "archive-cert.pem").write_text(second.pem)
    (tmp_path / "archive-key.pem").write_text(second.key_pem)
    for path in (site.certfile, site.keyfile):
        link = path.with_suffix(".link")
        link.symlink_to(tmp_path / f"archive-{path.name}")
        os.replace(link, path)
    assert site.look()
    assert site.served() == second.pem


def test_other_authorities_end_the_sessions_under_the_old_ones(tmp_path: Path) -> None:
    clients, others = Authority("Clients"), Authority("Others")
    ca = tmp_path / "ca.pem"
    clients.write(ca)
    site = Site(tmp_path, client_certs="required", ca_certs=str(ca))
    context = site.authority.trusting()
    context.load_cert_chain(clients.client().write(tmp_path / "client.pem"))
    first = MemoryClient(site.store, context).shake()
    first.answer(b"x")
    # A pair that cannot be loaded at the same time holds the new authorities up, and does not let them be forgotten.
    replace(ca, others.pem)
    site.keyfile.rename(tmp_path / "aside")
    assert not site.look()
    assert MemoryClient(site.store, context, session=first.tls.session).shake().tls.session_reused
    (tmp_path / "aside").rename(site.keyfile)
    assert site.look()
    with pytest.raises(TlsError, match="certificate was refused"):
        MemoryClient(site.store, context, session=first.tls.session).shake()
