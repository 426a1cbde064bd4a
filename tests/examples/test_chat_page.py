"""The chat in a real browser: windows talk to each other, and find back after a restart of the server."""

import pytest
from browser import Window
from selenium.webdriver.common.keys import Keys

pytestmark = [pytest.mark.real, pytest.mark.once]


@pytest.fixture
def chat(shared_example):
    """Serve the chat; every test has a room of its own."""
    return shared_example("chat.app:app")


def enter(window: Window, name: str, room: str) -> Window:
    """Go through the door."""
    for field, text in (("#name", name), ("#room", room)):
        element = window.one(field)
        element.clear()
        element.send_keys(text)
    window.one("#enter button").click()
    return window


def say(window: Window, text: str) -> None:
    """Write a message and send it with the return key."""
    window.one("#text").send_keys(text + Keys.ENTER)


def heard(window: Window) -> list[str]:
    """Return the messages that stand in the log."""
    return window.run("return [...document.querySelectorAll('.said p')].map(p => p.textContent)")


def people(window: Window) -> list[str]:
    """Return who is shown as present."""
    return window.run("return [...document.querySelectorAll('#people li')].map(li => li.children[1].textContent)")


def until_heard(window: Window, *texts: str) -> None:
    """Wait until exactly these messages stand in the log, confirmed by the server."""
    window.until(lambda _: heard(window) == list(texts) and not pending(window), f"the messages {texts}")


def pending(window: Window) -> int:
    """Return how many own messages wait for the server."""
    return window.run("return document.querySelectorAll('.pending').length")


def test_two_windows_talk_to_each_other(chat, open_window):
    ada = enter(open_window(chat.url), "Ada", "terrace")
    ada.until_data("state", "open")
    grace = enter(open_window(chat.url), "Grace", "terrace")
    ada.until_text("#log", "Grace came in")
    assert people(ada) == ["Ada", "Grace"]

    say(ada, "Is <b>anybody</b> there?")
    until_heard(grace, "Is <b>anybody</b> there?")
    say(grace, "Just me, ça va?")
    for window in (ada, grace):
        until_heard(window, "Is <b>anybody</b> there?", "Just me, ça va?")
    assert grace.text(".said:not(.own) .who").startswith("Ada")

    grace.one("#text").send_keys("hm")
    ada.until_text("#typing", "Grace is writing")
    grace.close()
    ada.until_text("#log", "Grace left")
    assert people(ada) == ["Ada"]


def test_who_comes_late_reads_what_was_said_and_rooms_are_apart(chat, open_window):
    ada = enter(open_window(chat.url), "Ada", "Quarry")
    say(ada, "first")
    say(ada, "second")
    until_heard(ada, "first", "second")
    late = enter(open_window(chat.url), "Late", "quarry")
    until_heard(late, "first", "second")
    elsewhere = enter(open_window(chat.url), "Else", "kitchen")
    elsewhere.until_text("#log", "Nobody has said anything yet")
    assert people(elsewhere) == ["Else"]


def test_one_person_may_have_several_windows(chat, open_window):
    ada = enter(open_window(chat.url), "Ada", "mirror")
    ada.until_data("state", "open")
    twin = enter(open_window(chat.url), "Ada", "mirror")
    say(twin, "also me")
    until_heard(ada, "also me")
    assert people(ada) == people(twin) == ["Ada"]
    twin.close()
    say(ada, "still here")
    until_heard(ada, "also me", "still here")
    assert "left" not in ada.text("#log")


def test_the_pages_find_back_after_a_restart(serve_example, open_window):
    chat = serve_example("chat.app:app")
    ada = enter(open_window(chat.url), "Ada", "lobby")
    grace = enter(open_window(chat.url), "Grace", "lobby")
    say(ada, "before")
    until_heard(grace, "before")

    chat.stop()
    for window in (ada, grace):
        window.until_data("code", "1012")
    say(ada, "meanwhile")
    assert pending(ada) == 1
    chat.start()
    for window in (ada, grace):
        window.until_data("state", "open")
        until_heard(window, "before", "meanwhile")
        window.until_text("#log", "The server restarted")
    log = ada.text("#log")
    assert log.index("before") < log.index("The server restarted") < log.index("meanwhile")
    say(grace, "after")
    until_heard(ada, "before", "meanwhile", "after")


def test_the_door_says_why_somebody_cannot_come_in(chat, open_window):
    window = open_window(chat.url)
    window.one("#name")
    window.run("document.getElementById('name').removeAttribute('maxlength')")
    enter(window, "A" * 40, "porch")
    window.until_text("#refusal", "a name has 1 to 24 characters")
    enter(window, "Ada", "porch").until_data("state", "open")
