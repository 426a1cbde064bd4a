"""The browser, its windows and the servers of the examples."""

from collections.abc import Callable, Iterator

import browser
import pytest
from browser import Window
from example_server import ExampleServer
from selenium import webdriver


@pytest.fixture(scope="session")
def driver() -> Iterator[webdriver.Chrome]:
    """Start one browser for all tests."""
    started = browser.start()
    yield started
    started.quit()


@pytest.fixture
def open_window(driver: webdriver.Chrome) -> Iterator[Callable[[str], Window]]:
    """Return a function that opens a URL in a new window; at the end all are closed, and none may have complained.

    A page complains of nothing but a server that is away, which some tests want.
    """
    first = driver.current_window_handle
    windows: list[Window] = []

    def open_url(url: str) -> Window:
        windows.append(Window(driver, url))
        return windows[-1]

    yield open_url
    complaints = []
    for handle in driver.window_handles:
        driver.switch_to.window(handle)
        complaints += [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        if handle != first:
            driver.close()
    driver.switch_to.window(first)
    assert not [entry for entry in complaints if "net::ERR_" not in entry["message"]]


@pytest.fixture
def serve_example() -> Iterator[Callable[..., ExampleServer]]:
    """Return a function that serves an example with the command line's arguments, and variables as keywords."""
    servers: list[ExampleServer] = []

    def serve(*arguments: str, **variables: str) -> ExampleServer:
        servers.append(ExampleServer(["--app-dir", "examples", *arguments], variables))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def shared_example() -> Iterator[Callable[[str], ExampleServer]]:
    """Return a function that serves an example once for all tests that disturb nobody there."""
    servers: dict[str, ExampleServer] = {}

    def serve(target: str) -> ExampleServer:
        if target not in servers:
            servers[target] = ExampleServer(["--app-dir", "examples", target], {})
        return servers[target]

    yield serve
    for server in servers.values():
        server.close()
