"""The error page in a real browser: it shows the fault and where, follows the edits, and is gone with the fault."""

import pytest
from tests.examples import browser
from tests.examples.browser import Window

# A browser and a server start here, on a machine that may run other tests.
pytestmark = [pytest.mark.real, pytest.mark.once, pytest.mark.timeout(120)]

SOUND = """
async def app(scope, receive, send):
    body = b"<!doctype html><title>shop</title><h1>The shop is open</h1><p>%s</p>" % scope["method"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": body})
"""
BROKEN = "import json\n\ndef settings():\n    return json.loads('{<b>')\n\nTOKEN = 'a-secret-value'\napp = settings()\n"


@pytest.fixture(scope="module")
def driver():
    """Start one browser for the tests of this file."""
    started = browser.start()
    yield started
    started.quit()


@pytest.fixture
def save(tmp_path):
    """Return a function that saves the application at one stroke."""

    def save_file(text):
        draft = tmp_path / ".#app.py"
        draft.write_text(text)
        draft.replace(tmp_path / "app.py")

    return save_file


def test_the_page_follows_the_edits_and_clears_itself(launch, save, driver):
    save(SOUND)
    service = launch("app:app", "--reload").started()
    service.wait_for("watching")
    window = Window(driver, f"http://127.0.0.1:{service.port}/")
    window.until_text("h1", "The shop is open")

    save(BROKEN)
    service.wait_for("browsers are shown why")
    driver.refresh()
    window.until_text("h1", "JSONDecodeError")
    assert "app.py:4" in window.text("figure figcaption")
    assert "return json.loads('{<b>')" in window.text("figure mark")
    assert "a-secret-value" not in driver.page_source
    assert window.run("return document.querySelectorAll('li.library details[open]').length") == 0
    assert window.run("return document.querySelectorAll('li.own details[open]').length") == 1
    window.until_text(".state", "waiting for a change")

    # From here on nobody touches the browser.
    save(BROKEN.replace("json.loads", "json.lods"))
    window.until_text("h1", "AttributeError")
    window.until_text(".message", "has no attribute 'lods'")
    save(SOUND)
    window.until_text("h1", "The shop is open")
    assert window.run("return performance.getEntriesByType('navigation')[0].type") == "reload"


def test_the_page_survives_a_server_that_is_away(launch, save, driver):
    save(BROKEN)
    first = launch("app:app", "--reload").started()
    window = Window(driver, f"http://127.0.0.1:{first.port}/")
    window.until_text("h1", "JSONDecodeError")
    window.until_data("state", "waiting")
    assert first.stop() == 0
    window.until_data("state", "away")
    save(SOUND)
    second = launch("app:app", "--bind", f"127.0.0.1:{first.port}")
    second.started()
    window.until_text("h1", "The shop is open")


def test_a_form_is_not_sent_again_by_itself(launch, save, driver):
    save(SOUND.replace("<p>", "<form method=post><button>send</button></form><p>"))
    service = launch("app:app", "--reload").started()
    service.wait_for("watching")
    window = Window(driver, f"http://127.0.0.1:{service.port}/")
    window.until_text("h1", "The shop is open")
    save(BROKEN)
    service.wait_for("browsers are shown why")
    window.one("button").click()
    window.until_text("h1", "JSONDecodeError")
    save(SOUND)
    window.until_data("state", "mended")
    assert "JSONDecodeError" in window.text("h1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_scrolls_no_page_sideways(launch, save, driver, scheme):
    save(BROKEN.replace("settings()\n", f"settings()  # {'long ' * 40}\n"))
    service = launch("app:app", "--reload").started()
    window = Window(driver, f"http://127.0.0.1:{service.port}/")
    window.resize(390, 800, scheme)
    window.until_text("h1", "JSONDecodeError")
    assert window.run("return document.documentElement.scrollWidth") <= 390
