"""wsgi.errors: a text stream into the server's error log."""

from typing import Any

import pytest
from raw_client import fetch
from wsgi_apps import Attempt

from trilithon.testing import serve

pytestmark = pytest.mark.real


def run(call: Any) -> Attempt:
    """Serve one request whose application calls `call(wsgi.errors)`."""
    application = Attempt(lambda environ, start_response: call(environ["wsgi.errors"]))
    with serve(application) as site:
        assert fetch(site).body == b"attempted"
    return application


def written(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> str:
    """Return what reached the error log or standard error; assert that standard output stayed clean."""
    out, err = capfd.readouterr()
    assert "marker" not in out
    return "\n".join(record.getMessage() for record in caplog.records if record.name == "trilithon.error") + "\n" + err


@pytest.mark.spec("W-ERR-01", "W-WSGI-04", "W-VAL-07")
def test_it_has_the_three_methods() -> None:
    def call(stream: Any) -> None:
        stream.write("one\n")
        stream.writelines(["two\n", "three\n"])
        stream.flush()
        print("four", file=stream)

    assert run(call).error is None


@pytest.mark.spec("W-ERR-02", "W-ERR-03")
def test_any_text_is_accepted(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    application = run(lambda stream: (stream.write("marker \u20ac \U0001f600 \udc80 end\n"), stream.flush()))
    assert application.error is None
    assert "marker" in written(caplog, capfd)


@pytest.mark.spec("W-ERR-03")
def test_it_goes_to_the_error_log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    run(lambda stream: (stream.write("marker of errors\n"), stream.flush()))
    assert written(caplog, capfd).count("marker of errors") == 1


@pytest.mark.spec("W-ERR-04")
def test_lines_stay_lines(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    def call(stream: Any) -> None:
        stream.write("marker first\nmarker ")
        stream.write("second\n")
        stream.writelines(["marker third\n", "marker fourth\n"])
        stream.flush()

    run(call)
    lines = [line for line in written(caplog, capfd).splitlines() if "marker" in line]
    assert [line[line.index("marker") :] for line in lines] == [
        "marker first",
        "marker second",
        "marker third",
        "marker fourth",
    ]


@pytest.mark.spec("W-ERR-01")
def test_bytes_are_refused() -> None:
    assert isinstance(run(lambda stream: stream.write(b"bytes")).error, TypeError)


def test_no_standard_error_at_all_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    assert run(lambda stream: (stream.write("lost\n"), stream.flush())).error is None
