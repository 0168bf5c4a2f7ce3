"""The 402 page in a real Chromium: it renders under its own policy, fits a phone, and reads in the dark."""

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.test_payments_api import BROWSER
from tests.support.browser import CHROMIUM, HEADLESS, REASON
from tests.support.services import Stack

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=REASON)
FLAGS = (*HEADLESS, "--hide-scrollbars", "--enable-logging=stderr")
DARK = "--blink-settings=preferredColorScheme=0"
MEASURE = """<!doctype html><iframe style="width:%dpx;height:900px;border:0"></iframe><pre id="seen"></pre>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, style = (e) => frame.contentWindow.getComputedStyle(e);
  document.getElementById("seen").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    paper: style(page.querySelector("main")).backgroundColor,
    ink: style(page.querySelector("h1")).color,
    soft: style(page.querySelector("dt")).color,
    size: parseFloat(style(page.body).fontSize),
    outside: [...page.querySelectorAll("main *")].filter(
      (e) => e.getBoundingClientRect().right > %d).map((e) => e.tagName),
  });
};
frame.src = "/page";
</script>"""

CLIPBOARD = """<script>
window.copied = [];
const clipboard = {writeText: async (text) => { copied.push(text); }};
Object.defineProperty(navigator, "clipboard", {value: clipboard});
</script>"""
PRESS = """<pre id="copied"></pre><script>
for (const button of document.querySelectorAll("button")) button.click();
setTimeout(() => { document.getElementById("copied").textContent = JSON.stringify(copied); }, 100);
</script>"""

Chromium = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def chromium(tmp_path: Path) -> Chromium:
    def run(url: str, *flags: str) -> subprocess.CompletedProcess[str]:
        assert CHROMIUM is not None
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, url],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


class Text(HTMLParser):
    """The visible text and the buttons of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.text = ""
        self.buttons: list[dict[str, str | None]] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "button":
            self.buttons.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_opening_a_paid_address_shows_the_bill(stack: Stack, chromium: Chromium) -> None:
    done = chromium(f"{stack.broker}/run", "--dump-dom")
    page = Text(done.stdout)
    assert "402 Payment required" in page.text
    assert re.search(r"from \$0\.00\d+", page.text)
    assert "base-sepolia (test money" in page.text
    assert f"curl -i {stack.broker}/run" in page.text
    assert f"galaksio login --url {stack.broker}" in page.text
    # The script, which alone shows the buttons, was let through by the page's own policy …
    assert len(page.buttons) == 2
    assert all("hidden" not in button for button in page.buttons)
    # … and nothing on the page was held back by it.
    assert "CONSOLE" not in done.stderr, done.stderr


def test_the_policy_stops_a_script_that_is_not_the_pages_own(stack: Stack, chromium: Chromium) -> None:
    """The same page under the same policy, with a stranger's script in it."""
    real = httpx.get(f"{stack.broker}/run", headers=BROWSER, trust_env=False, verify=False, timeout=60)
    planted = real.text.replace(
        "</main>", '</main><script>document.title = "taken over"</script><img src="https://evil.test/x.png">'
    )
    policy = {"Content-Security-Policy": real.headers["Content-Security-Policy"]}
    with Serving({"/": (planted, policy)}) as url:
        done = chromium(url, "--dump-dom")
    assert "<title>402 Payment required" in done.stdout
    assert done.stderr.count("violates the following Content Security Policy") == 2, done.stderr


def test_what_the_copy_buttons_copy_can_be_pasted_into_a_shell(
    stack: Stack, chromium: Chromium, tmp_path: Path
) -> None:
    page = httpx.get(f"{stack.broker}/run", headers=BROWSER, trust_env=False, verify=False, timeout=60).text
    page = page.replace("<head>", "<head>" + CLIPBOARD).replace("</body>", PRESS + "</body>")
    with Serving({"/": (page, {})}) as url:
        done = chromium(url, "--dump-dom", "--virtual-time-budget=1000")
    found = re.search(r'<pre id="copied">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout
    paying, curl = json.loads(html.unescape(found[1]))
    assert [line.split()[0] for line in paying.splitlines()] == ["galaksio", "echo", "galaksio"]
    subprocess.run(["bash", "-c", paying.splitlines()[1]], cwd=tmp_path, check=True)
    assert (tmp_path / "hello.py").read_text() == "print('Hello')\n"
    if shutil.which("curl"):
        billed = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=30, check=True)
        assert billed.stdout.startswith("HTTP/1.1 402")
        assert json.loads(billed.stdout.split("\n\n")[-1])["accepts"]


@pytest.mark.parametrize("width", [1200, 360, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_the_screen_and_can_be_read(
    stack: Stack, chromium: Chromium, width: int, dark: bool
) -> None:
    page = httpx.get(f"{stack.broker}/run", headers=BROWSER, trust_env=False, verify=False, timeout=60).text
    with Serving({"/page": (page, {}), "/": (MEASURE % (width, width), {})}) as url:
        done = chromium(url, "--dump-dom", "--window-size=1300,1000", *([DARK] if dark else []))
    found = re.search(r'<pre id="seen">(\{.*?\})</pre>', done.stdout)
    assert found is not None, done.stdout
    seen: dict[str, Any] = json.loads(found[1])
    assert seen["width"] == width
    assert seen["outside"] == []
    assert seen["size"] >= 16
    assert (luminance(seen["paper"]) < 0.1) is dark
    assert contrast(seen["ink"], seen["paper"]) >= 12
    assert contrast(seen["soft"], seen["paper"]) >= 4.5


class Serving:
    """`documents` (path → text and headers) on a free port, for as long as the block lasts."""

    def __init__(self, documents: dict[str, tuple[str, dict[str, str]]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                text, headers = documents.get(self.path, ("", {}))
                self.send_response(200 if self.path in documents else 404)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
