"""Does the page open in a real browser, offline, with the verdict on the first screen?"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.validators.test_report import VERDICTS, decision, evidence, training
from validators.report import write_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
#: The quiet flags keep the browser itself from the network, so that every request seen is the page's own.
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-default-apps", "--remote-debugging-port=0", "--remote-allow-origins=*",
]  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install Debian's package `chromium`"),
]

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SEEN = """(() => {
  const box = selector => { const e = document.querySelector(selector); if (!e) return null;
    const r = e.getBoundingClientRect();
    return {top: r.top, bottom: r.bottom, left: r.left, right: r.right, text: e.textContent}; };
  return JSON.stringify({verdict: box('#verdict'), reason: box('.reason'), next: box('.next'), name: box('.dataset'),
    wide: document.documentElement.scrollWidth, colour: getComputedStyle(document.querySelector('#verdict')).color,
    page: getComputedStyle(document.body).backgroundColor,
    unnamed: [...document.querySelectorAll('svg')].filter(s => !(s.getAttribute('aria-label') || '').trim()).length,
    charts: document.querySelectorAll('svg[role=img]').length}); })()"""


class Tab:
    """One page of a headless browser, spoken to by the DevTools protocol."""

    def __init__(self, address: str) -> None:
        from websockets.sync.client import connect

        self.socket = connect(address, max_size=None, compression=None)
        self.count = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def open(self, page: Path, *, size: tuple[int, int], scheme: str = "light") -> dict[str, Any]:
        self.ask("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while not self.named("Page.loadEventFired"):
            self.events.append(json.loads(self.socket.recv(timeout=30)))
        return json.loads(self.ask("Runtime.evaluate", expression=SEEN)["result"]["value"])

    def named(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") == method]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    from urllib.request import urlopen

    home = tmp_path_factory.mktemp("chromium")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={home}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = _port(home / "DevToolsActivePort", process)
        with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            pages = [target for target in json.load(answer) if target["type"] == "page"]
        tab = Tab(pages[0]["webSocketDebuggerUrl"])
        yield tab
        tab.socket.close()
    finally:
        process.terminate()
        process.wait(timeout=20)


def _port(path: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(300):
        if path.is_file() and (lines := path.read_text().split()):
            return lines[0]
        assert process.poll() is None, "the browser ended before it listened"
        time.sleep(0.1)
    raise AssertionError("the browser did not listen within 30 s")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_first_screen_holds_the_verdict(tab: Tab, tmp_path: Path, verdict: str, size: tuple[int, int]) -> None:
    page = write_html(
        decision(verdict), tmp_path / "report.html", evidence=evidence(), training=training(), title="a set of rows"
    )
    seen = tab.open(page, size=size)
    assert verdict in seen["verdict"]["text"]
    for part in ("name", "verdict", "reason", "next"):
        assert 0 <= seen[part]["top"] < seen[part]["bottom"] <= size[1], part
        assert 0 <= seen[part]["left"] < seen[part]["right"] <= size[0], part
    assert seen["wide"] <= size[0], "the page scrolls sideways"


def test_the_page_is_quiet_and_asks_nothing(tab: Tab, tmp_path: Path) -> None:
    page = write_html(decision("BLOCK"), tmp_path / "report.html", evidence=evidence(), training=training())
    seen = tab.open(page, size=SIZES["desktop"])
    asked = [event["request"]["url"] for event in tab.named("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert tab.named("Log.entryAdded") == []
    assert tab.named("Runtime.exceptionThrown") == tab.named("Runtime.consoleAPICalled") == []
    assert seen["unnamed"] == 0
    assert seen["charts"] > 8


def test_every_verdict_has_its_own_colour_in_light_and_dark(tab: Tab, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        found = set()
        for verdict in VERDICTS:
            seen = tab.open(write_html(decision(verdict), tmp_path / f"{verdict}.html"), size=SIZES["phone"], scheme=scheme)
            found.add(seen["colour"])
            dark = sum(int(part) for part in seen["page"].removeprefix("rgb(").rstrip(")").split(",")) < 200
            assert dark == (scheme == "dark")
        assert len(found) == len(VERDICTS)
