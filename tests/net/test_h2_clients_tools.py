"""HTTP/2 with the tools that people judge a server by: curl, nghttp and h2load."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .h2_digest import Place, content, digest_of, open_place
from .h2_site import SITES
from .tls_client import Trust

pytestmark = pytest.mark.real

MIB = 2**20
WITHIN_S = 60


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Sign the certificates of this file."""
    return Trust(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=[(kind, secure) for kind in SITES for secure in (False, True)], ids=str)
def place(request: pytest.FixtureRequest, trust: Trust) -> Iterator[Place]:
    """Serve each kind of site, with TLS and without."""
    kind, secure = request.param
    with open_place(kind, trust if secure else None) as opened:
        yield opened


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Write files of 8 and 50 MiB."""
    directory = tmp_path_factory.mktemp("upload")
    paths = {}
    for size in (8 * MIB, 50 * MIB):
        paths[size] = directory / str(size)
        paths[size].write_bytes(b"".join(content(size)))
    return paths


def run(*words: str) -> bytes:
    """Run a tool and return what it prints; it must succeed."""
    done = subprocess.run(words, capture_output=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    return done.stdout


def curl(place: Place, path: str, *words: str) -> bytes:
    """Return what curl prints for one address."""
    how = ["--http2-prior-knowledge"]
    if place.trust is not None:
        target = f"localhost:{place.site.port}:127.0.0.1"
        how = ["--http2", "--cacert", place.trust.ca_certs, "--resolve", target]
    return run("curl", "-sS", "--noproxy", "*", "--max-time", str(WITHIN_S), *how, *words, place.url + path)


@pytest.mark.spec("H2-CONN-01", "H2-CONN-03")
def test_curl_gets(place: Place) -> None:
    answer = json.loads(curl(place, "/hello?a=b%20c", "-H", "Cookie: a=1; b=2"))
    assert (answer["version"], answer["query"], answer["size"]) == ("2", "a=b%20c", 0)
    head = curl(place, "/", "--head").decode()
    assert head.startswith("HTTP/2 200")
    assert "connection:" not in head.lower()


@pytest.mark.spec("H2-STR-13")
@pytest.mark.parametrize("status", [302, 401])
@pytest.mark.parametrize("expect", ["Expect:", "Expect: 100-continue"])
def test_curl_gets_an_answer_that_comes_before_its_upload_is_over(
    place: Place, uploads: dict[int, Path], status: int, expect: str
) -> None:
    words = ["-H", expect, "--data-binary", f"@{uploads[8 * MIB]}", "-w", "%{http_code}"]
    assert curl(place, f"/early/{status}", *words) == b"early%d" % status


@pytest.mark.spec("H2-FLOW-03", "H2-FLOW-06")
def test_curl_uploads_and_downloads_much(place: Place, uploads: dict[int, Path]) -> None:
    size = 8 * MIB if place.kind.endswith("mixed") else 50 * MIB
    path = uploads[size]
    answer = json.loads(curl(place, "/up", "-T", str(path)))
    assert (answer["size"], answer["digest"]) == (size, digest_of(size))
    assert curl(place, f"/down/{size}") == path.read_bytes()


@pytest.mark.spec("H2-DOS-08", "H2-FLOW-03")
def test_curl_reads_slowly(place: Place) -> None:
    got = curl(place, f"/down/{3 * MIB}", "--limit-rate", "6M")
    assert got == b"".join(content(3 * MIB))


def nghttp(place: Place, *words: str) -> str:
    """Return what nghttp says; it takes any certificate."""
    return run("nghttp", "-t", str(WITHIN_S), *words).decode("utf-8", "replace")


@pytest.mark.spec("H2-CONN-02", "H2-CONN-10", "H2-CONN-11")
def test_nghttp_speaks_with_us(place: Place) -> None:
    said = nghttp(place, "-v", "-n", "--padding=100", place.url + "/a", place.url + "/b")
    assert said.count(":status: 200") == 2
    assert "recv SETTINGS frame" in said
    assert "SETTINGS_NO_RFC7540_PRIORITIES" in said or "UNKNOWN(0x09):1" in said
    assert "; ACK" in said
    assert "INVALID" not in said
    assert "send GOAWAY frame" in said


@pytest.mark.spec("H-PRIO-01", "H2-STR-07")
def test_nghttp_asks_for_many_things_in_an_order(place: Place) -> None:
    said = nghttp(place, "-v", "-n", "-m", "60", "--weight=256", f"{place.url}/down/70000")
    assert said.count(":status: 200") == 60
    assert "RST_STREAM" not in said


@pytest.mark.spec("H2-STR-11", "H2-STR-06")
def test_nghttp_uploads_with_padding_and_trailers(place: Place, tmp_path: Path) -> None:
    size = 300_000
    path = tmp_path / "body"
    path.write_bytes(b"".join(content(size)))
    said = nghttp(place, "-d", str(path), "--padding=255", "--trailer=x-sum: 42", place.url + "/up")
    answer = json.loads(said)
    assert (answer["size"], answer["digest"]) == (size, digest_of(size))


@pytest.mark.spec("H2-FLOW-03", "H2-FLOW-04")
def test_nghttp_reads_through_a_small_window(place: Place) -> None:
    said = run("nghttp", "-w", "10", "-W", "12", "--no-dep", f"{place.url}/down/200000")
    assert said == b"".join(content(200_000))


@pytest.mark.spec("H2-STR-05", "A-SCOPE-23", "W-CALL-06")
@pytest.mark.parametrize("streams", ["1", "32", "100"])
def test_h2load_loses_no_request(place: Place, streams: str) -> None:
    said = run("h2load", "-n", "1500", "-c", "5", "-m", streams, place.url + "/x").decode()
    assert re.search(r"1500 succeeded, 0 failed, 0 errored, 0 timeout", said), said
    assert "status codes: 1500 2xx" in said


@pytest.mark.spec("H2-FLOW-03")
def test_h2load_uploads_and_downloads(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "body"
    path.write_bytes(b"".join(content(100_000)))
    said = run("h2load", "-n", "60", "-c", "3", "-m", "20", "-d", str(path), f"{place.url}/down/100000").decode()
    assert "60 succeeded, 0 failed" in said, said
