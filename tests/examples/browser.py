"""A real browser without a screen: Chromium, driven through chromedriver, with as many windows as a test wants."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

WAIT_S = 15.0
POLL_S = 0.03
WINDOW = (1200, 850)
ARGUMENTS = [
    "--headless=new",
    # Chromium's own sandbox does not start for root and in most containers; only our own pages are opened here.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    # Where a test speaks TLS, it made its certificate itself.
    "--ignore-certificate-errors",
    "--disable-background-networking",
    "--disable-component-update",
    # A window behind another one is to run on as if somebody looked at it.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    f"--window-size={WINDOW[0]},{WINDOW[1]}",
]


def find(*names: str) -> str:
    """Return the path of the first of these commands; fail with what to type when there is none."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    pytest.fail(f"{names[0]} is not installed; on Debian: apt-get install -y chromium chromium-driver", pytrace=False)


def start() -> webdriver.Chrome:
    """Start the browser with one empty window."""
    options = webdriver.ChromeOptions()
    options.binary_location = find("chromium", "chromium-browser", "google-chrome")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in ARGUMENTS:
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(find("chromedriver")))


class Window:
    """One window of the browser; every method makes it the one that is driven."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        driver.switch_to.new_window("window")
        self.handle = driver.current_window_handle
        driver.get(url)

    def go(self) -> webdriver.Chrome:
        """Make this the window that is driven."""
        self.driver.switch_to.window(self.handle)
        return self.driver

    def one(self, selector: str) -> WebElement:
        """Return the first element that a CSS selector finds, once there is one."""
        return self.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, selector), selector)[0]

    def text(self, selector: str) -> str:
        """Return the text of the first element that the selector finds, empty when it finds none."""
        script = "return document.querySelector(arguments[0])?.textContent ?? ''"
        return str(self.go().execute_script(script, selector))

    def data(self, name: str) -> str:
        """Return what the page says about itself in a data attribute of its body."""
        return str(self.go().execute_script("return document.body.dataset[arguments[0]] ?? ''", name))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page and return what it returns."""
        return self.go().execute_script(script, *arguments)

    def until(self, condition: Callable[[webdriver.Chrome], Any], what: str) -> Any:
        """Wait until `condition` holds and return what it gives; fail with `what` and the state of the page."""
        self.go()
        waiting = WebDriverWait(self.driver, WAIT_S, POLL_S)
        try:
            return waiting.until(condition)
        except Exception as fault:
            page = self.driver.find_element(By.TAG_NAME, "body").text[:600]
            raise AssertionError(f"waited {WAIT_S:g} s for: {what}\n{self.complaints()}\n{page}") from fault

    def until_text(self, selector: str, text: str) -> None:
        """Wait until the first element of the selector holds `text`."""
        self.until(lambda _: text in self.text(selector), f"{text!r} in {selector}")

    def until_data(self, name: str, value: str) -> None:
        """Wait until the page says `value` about itself."""
        self.until(lambda _: self.data(name) == value, f"data-{name} = {value!r}")

    def resize(self, width: int, height: int, scheme: str) -> None:
        """Show the page at this size, in the `light` or the `dark` colours."""
        driver = self.go()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def complaints(self) -> list[str]:
        """Return what the page wrote on its console as an error since this was asked last."""
        return [entry["message"] for entry in self.go().get_log("browser") if entry["level"] == "SEVERE"]

    def close(self) -> None:
        """Close the window, as its user would."""
        self.go().close()
