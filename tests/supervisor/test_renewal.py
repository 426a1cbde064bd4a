"""Certificates that change while workers come and go: a new worker begins with what the others serve with."""

import os
import signal
import ssl
import time
from contextlib import suppress

import pytest
from service import children, until
from tests.net.tls_authority import Authority

pytestmark = [pytest.mark.real, pytest.mark.once]

WAYS = {"fork": (), "preload": ("--preload",)}


def served(service):
    """Return the certificate that a new connection gets, empty for none."""
    with suppress(OSError):
        return ssl.get_server_certificate(("127.0.0.1", service.port), timeout=10)
    return ""


@pytest.mark.parametrize("way", WAYS)
def test_a_new_worker_has_the_certificate_of_the_others_while_the_next_is_half_written(launch, tmp_path, way):
    authority = Authority()
    first, second, third = (authority.server("localhost") for _ in range(3))
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(certificate, key):
        for path, text in ((certfile, certificate.pem), (keyfile, key.key_pem)):
            path.with_suffix(".new").write_text(text)
            os.replace(path.with_suffix(".new"), path)

    write(first, first)
    files = ("--certfile", str(certfile), "--keyfile", str(keyfile), "--cert-reload", "0.2")
    service = launch("pids:app", "--workers", "1", *WAYS[way], *files).started()
    assert served(service) == first.pem
    write(second, second)
    until(lambda: served(service) == second.pem, "the second certificate")
    # It is not told when the parent of the workers has seen it too, which looks as often.
    seen = time.monotonic()
    until(lambda: time.monotonic() > seen + 2.0, "some more looks")
    write(third, second)
    service.wait_for("Certificates cannot be loaded anew")
    parent = service.children()[0] if way == "preload" else service.pid
    for _ in range(2):
        (worker,) = until(lambda: len(found := children(parent)) == 1 and found, "a worker")
        os.kill(worker, signal.SIGKILL)
        service.after(rf"pid {worker}\) ended by SIGKILL")
        until(lambda: served(service), "a certificate")
        assert served(service) == second.pem
    write(third, third)
    until(lambda: served(service) == third.pem, "the third certificate")
    assert service.log.count("loaded anew") - service.log.count("cannot be loaded anew") <= 4
    assert service.stop() == 0
