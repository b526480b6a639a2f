"""A headless Chromium, driven through chromedriver's plain HTTP interface: no package needed besides Debian's two.

Needs the Debian packages `chromium` and `chromium-driver`.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


class Browser:
    """One page in a headless Chromium."""

    def __init__(self, address: str, session: str) -> None:
        self._address, self._session = f"{address}/session/{session}", session

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Sends a WebDriver command and returns its value."""
        return _http(method, self._address + path, body)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Sends a DevTools command."""
        return self.send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, hash: str = "") -> None:
        """Opens a local page, and waits until it says that it is drawn."""
        mobile = width < 600
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.devtools("Emulation.setEmulatedMedia", features=scheme)
        self.send("POST", "/url", {"url": "about:blank"})
        self.requests()  # what the browser itself asked for at its start is none of the page's
        self.send("POST", "/url", {"url": path.absolute().as_uri() + hash})
        end = time.monotonic() + 30
        while not self.run("return document.documentElement.dataset.ready"):
            if time.monotonic() > end:
                raise TimeoutError(f"{path}: not drawn within 30 s; console: {self.console()}")
            time.sleep(0.05)

    def run(self, script: str, *arguments: Any) -> Any:
        """Runs JavaScript in the page and returns what it returns."""
        return self.send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def type(self, selector: str, text: str) -> None:
        """Types text into an element, as a person does."""
        element = self.send("POST", "/element", {"using": "css selector", "value": selector})
        (identity,) = element.values()
        self.send("POST", f"/element/{identity}/clear", {})
        self.send("POST", f"/element/{identity}/value", {"text": text})

    def click(self, selector: str) -> None:
        """Clicks an element, after bringing it into view."""
        self.run(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center', behavior: 'instant'})", selector
        )
        element = self.send("POST", "/element", {"using": "css selector", "value": selector})
        (identity,) = element.values()
        self.send("POST", f"/element/{identity}/click", {})

    def console(self) -> list[str]:
        """What was logged since the last call: errors and warnings."""
        return [entry["message"] for entry in self.send("POST", "/se/log", {"type": "browser"})]

    def requests(self) -> list[str]:
        """Every address that was asked for since the last call."""
        found = []
        for entry in self.send("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                parameters = message["params"]
                found.append(parameters.get("request", parameters)["url"])
        return found

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Saves what is seen, or the whole page, as PNG."""
        shot = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **self._clip(whole))
        path.write_bytes(base64.b64decode(shot["data"]))

    def _clip(self, whole: bool) -> dict[str, Any]:
        if not whole:
            return {}
        size = self.devtools("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `profile`.

    Raises:
        RuntimeError: If Chromium or its driver is not installed.
    """
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or chromium is None:
        raise RuntimeError("The report is tested in a real browser: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address)
        options = {"binary": chromium, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        wanted["goog:loggingPrefs"] = {"browser": "ALL", "performance": "ALL"}
        made = _http("POST", f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        page = Browser(address, made["sessionId"])
        try:
            yield page
        finally:
            page.send("DELETE", "")
    finally:
        process.terminate()
        process.wait(10)


def _wait(address: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            if _http("GET", f"{address}/status")["ready"]:
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.05)


def _http(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}: {json.load(error)['value']['message'][:500]}") from None
