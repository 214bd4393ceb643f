"""Does the page open in a real browser, offline, with the verdict on the first screen?"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.validators.test_report import NASTY, VERDICTS, decision, evidence, training
from tests.validators.test_report_checks import swapped, useful
from validators.base import Culprit, Finding
from validators.judge import checks
from validators.report import write_html
from validators.report.scales import scale_of

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
  const overflowing = [...document.querySelectorAll('section, summary, figure')].filter(
    e => !e.closest('.scroll') && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').length;
  return JSON.stringify({verdict: box('#verdict'), reason: box('.reason'), next: box('.next'), name: box('.dataset'),
    smallest: box('.smallest'), lineage: box('.brief'), cells: box('.cells tbody tr'), checks: box('.checks li'),
    tenth: box('.cells tbody tr:nth-of-type(10)'), last: box('.checks li:last-child'), overflowing,
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
    # A phone shows the verdict and what to do; a desk the cells and the checks beside each other too.
    beside = ("cells", "checks") if size[0] > 1000 else ()
    for part in ("name", "verdict", "reason", "next", "smallest", "lineage", *beside):
        assert 0 <= seen[part]["top"] < seen[part]["bottom"] <= size[1], part
        assert 0 <= seen[part]["left"] < seen[part]["right"] <= size[0], part
    assert seen["wide"] <= size[0], "the page scrolls sideways"
    assert seen["overflowing"] == 0, "something sticks out of its box"


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


def press(tab: Tab, key: str) -> None:
    code = {"Tab": 9, "Enter": 13}[key]
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        tab.ask(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **(text if kind == "keyDown" else {}),
        )


def ask(tab: Tab, expression: str) -> Any:
    return tab.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


FOCUS = """(() => { const e = document.activeElement; const s = getComputedStyle(e);
  return {name: e.tagName + '|' + (e.textContent || '').trim().slice(0, 40) + '|' + (e.getAttribute('aria-label') || e.id),
    ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0, body: e === document.body}; })()"""


def test_everything_is_reached_and_opened_by_keyboard(tab: Tab, tmp_path: Path) -> None:
    page = write_html(decision("BLOCK"), tmp_path / "report.html", evidence=evidence(), training=training())
    tab.open(page, size=SIZES["desktop"])
    within = 'a[href], summary, [tabindex="0"]'
    wanted = ask(tab, f"[...document.querySelectorAll('{within}')].filter(each => each.checkVisibility()).length")
    assert wanted > 20
    reached = []
    for _ in range(wanted):
        press(tab, "Tab")
        reached.append(ask(tab, FOCUS))
    assert [each["name"] for each in reached if each["body"]] == []
    assert [each["name"] for each in reached if not each["ring"]] == []
    assert len({each["name"] for each in reached}) > 0.8 * wanted
    assert reached[0]["name"].startswith("A|Skip to the verdict")
    ask(tab, "document.querySelector('.checks summary').focus()")
    assert not ask(tab, "document.querySelector('.checks details').open")
    press(tab, "Enter")
    assert ask(tab, "document.querySelector('.checks details').open")
    assert "alpha of this check" in ask(tab, "document.querySelector('.checks details').innerText")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_gates_own_page_with_harmful_names_is_quiet_and_keeps_its_width(
    tab: Tab, tmp_path: Path, size: tuple[int, int]
) -> None:
    sides, found = swapped()
    long = Culprit(cell=NASTY + "x" * 300, expected=1200, observed=3, ratio=0.0025, ratio_ci=(0.001, 0.01), p_adjusted=1e-200)
    worst = Finding("modes", "BLOCK", value=0.0025, limit=0.5, reference=0.9, summary=NASTY * 4, culprits=(long,) * 10)
    told = decision(
        "BLOCK", findings=(worst, *found, useful()[1]), detectable={"yes": 0.02, "no": None}, lineage={NASTY: "y" * 300}
    )
    page = write_html(told, tmp_path / "report.html", evidence=sides, training=training(), title="z" * 200)
    seen = tab.open(page, size=size)
    assert tab.named("Log.entryAdded") == tab.named("Runtime.exceptionThrown") == tab.named("Runtime.consoleAPICalled") == []
    assert (
        len(tab.named("Network.requestWillBeSent"))
        - sum(event["request"]["url"].startswith("data:") for event in tab.named("Network.requestWillBeSent"))
        == 1
    )
    assert seen["wide"] <= size[0]
    assert seen["overflowing"] == seen["unnamed"] == 0
    ask(tab, "document.querySelectorAll('details').forEach(each => each.open = true)")
    assert ask(tab, "document.documentElement.scrollWidth") <= size[0]


def test_the_desk_shows_ten_cells_and_every_check(tab: Tab, tmp_path: Path) -> None:
    found = [Finding(check.name, "PASS", value=0.5, reference=0.5, summary="it passed") for check in checks()]
    found = [replace(each, limit=0.3 if scale_of(each).least else 0.7) for each in found]
    told = decision("PASS", findings=tuple(found))
    seen = tab.open(write_html(told, tmp_path / "report.html", evidence=evidence()), size=SIZES["desktop"])
    assert seen["tenth"]["bottom"] <= SIZES["desktop"][1]
    # The last of the checks may touch the fold; its bar is above it.
    assert seen["last"]["top"] < SIZES["desktop"][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(tab: Tab, tmp_path: Path, scheme: str) -> None:
    """WCAG 2.1 AA: 4.5 to 1, for everything that is written on a card."""
    for word in VERDICTS:
        tab.open(
            write_html(decision(word), tmp_path / f"{word}.html", evidence=evidence()), size=SIZES["desktop"], scheme=scheme
        )
        weak = ask(tab, CONTRAST)
        assert weak == [], (word, weak)


CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (!/^rgba.*, 0\\)$|transparent/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
  const out = [];
  for (const e of document.querySelectorAll('main *:not(svg):not(svg *), footer, nav a')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || !e.offsetParent) continue;
    const [ink, ground] = [getComputedStyle(e).color, behind(e)], [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) out.push([ink, ground, e.className, e.textContent.trim().slice(0, 30)].join('|'));
  }
  return out; })()"""
