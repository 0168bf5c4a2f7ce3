"""A real Chromium, driven over its DevTools protocol: what a person does on a page, and sees there."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

CHROMIUM = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
REASON = "neither chromium nor google-chrome is installed"
PATIENCE_S = 60.0
HEADLESS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-proxy-server",
)
FLAGS = (*HEADLESS, "--remote-debugging-port=0")


@dataclass
class Tab:
    """One page. `complaints` are what the browser's console said: errors and violations of policies."""

    connection: ClientConnection
    complaints: list[str] = field(default_factory=list)
    _last_id: int = 0

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        self._last_id += 1
        self.connection.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while True:
            message = json.loads(self.connection.recv(PATIENCE_S))
            if message.get("id") == self._last_id:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def go(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression: str) -> Any:
        """What JavaScript makes of `expression`, as JSON."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until `expression` is true; its value."""
        deadline = time.monotonic() + PATIENCE_S
        failed = None
        while time.monotonic() < deadline:
            try:
                if found := self.value(expression):
                    return found
            except AssertionError as exc:  # the page that was asked is just making room for the next one
                failed = exc
            time.sleep(0.05)
        said = f"the page says: {self.text()}; {self.complaints}; {failed}"
        raise AssertionError(f"never: {expression}; {said}")

    def text(self) -> str:
        """All that can be read on the page."""
        return str(self.value("document.body.innerText"))

    def type(self, text: str) -> None:
        self.send("Input.insertText", text=text)

    def press_enter(self) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key="Enter", text="\r", windowsVirtualKeyCode=13)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """`dark` or `light`."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """PNG of what is visible."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))


@contextmanager
def open_tab(profile: Path) -> Iterator[Tab]:
    """A browser of its own with one empty page; its state is kept in `profile`."""
    assert CHROMIUM is not None
    said = profile.with_suffix(".log")
    with said.open("wb") as log:
        browser = subprocess.Popen(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
    try:
        with connect(_page_of(profile / "DevToolsActivePort", said), proxy=None, max_size=None) as connection:
            tab = Tab(connection)
            for domain in ("Page", "Runtime", "Log"):
                tab.send(f"{domain}.enable")
            yield tab
    finally:
        browser.terminate()
        browser.wait(PATIENCE_S)


def _page_of(told: Path, said: Path) -> str:
    """The address of the first page, once the browser has told its port."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if told.exists() and (lines := told.read_text().splitlines()):
            pages = httpx.get(f"http://127.0.0.1:{lines[0]}/json/list", trust_env=False, timeout=60).json()
            found = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
            if found:
                return str(found[0])
        time.sleep(0.05)
    raise AssertionError(f"the browser did not start: {said.read_text(errors='replace')}")
