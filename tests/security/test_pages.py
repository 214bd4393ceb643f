"""Does a name from the data run as a script in any page that is written: report, notebook, Data Docs, README?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from data.dataset import Dataset
from data.history import history
from data.publish import Publisher
from data.schema import Column, Schema
from data.words import untagged
from flows.cli import app
from tests.data.publishing import rest
from tests.validators.test_report_browser import CHROMIUM, Tab, ask, tab
from validators import judge
from validators.report import render_history

__all__ = ["tab"]

SCRIPT, PICTURE, SVG = "<script>mark(1)</script>", "\"><img src=x onerror='mark(2)'>", "'><svg onload=mark(3)></svg>"
CLASS, LINK = "<details open ontoggle=mark(4)>", "[x](javascript:mark(5))"
#: Set by whatever runs; `mark` is there before anything of the page is.
ARMED = "window.marked = []; window.mark = n => window.marked.push(n); window.alert = n => window.marked.push(n);"


def harmful(rows: int, seed: int) -> pa.Table:
    """Columns, levels and classes that are scripts; the synthetic rows of another seed lack a level, which is then told of."""
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(rows) < 0.3, CLASS, SVG)
    levels = rng.choice([PICTURE, "b", LINK] if seed < 2 else ["b", LINK], rows)
    return pa.table({SCRIPT: levels, PICTURE: rng.normal(size=rows), "y": label})


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command line's page and Data Docs of such a set, and a notebook's card."""
    folder = tmp_path_factory.mktemp("judged")
    for place, name in enumerate(("train", "holdout", "synthetic")):
        pacsv.write_csv(harmful(400, place), folder / f"{name}.csv")
    parts = [f"--{name}={folder / name}.csv" for name in ("train", "holdout", "synthetic")]
    ways = ["--target=y", "--detect=0.5", f"--html={folder}/page.html", f"--json={folder}/page.json", f"--docs={folder}/docs"]
    done = CliRunner().invoke(app, ["judge", *parts, *ways])
    assert done.exit_code in (0, 3, 4), done.output
    told = judge(*(folder / f"{name}.csv" for name in ("train", "holdout", "synthetic")), target="y", detect=0.5)
    (folder / "card.html").write_text(f"<!doctype html><meta charset=utf-8>{told._repr_html_()}")
    (folder / "history.html").write_text(_history(folder))
    return folder


def _history(folder: Path) -> str:
    """The page of all versions of such a set, one of them."""
    table = harmful(40, 2).append_column("is_synthetic", pa.array([True] * 40))
    columns = tuple(Column(name=name, kind="categorical", dtype="string", categories=(LINK, "b")) for name in (SCRIPT, "y"))
    facts = {
        "purpose": "augment",
        "verdict": "WARN",
        "reason": f"{SCRIPT}={SVG} is thin",
        "family": SCRIPT,
        "moved": [PICTURE, CLASS],
    }
    told = rest(folder, schema=Schema(columns, target="y"), facts=facts, report_json=(folder / "page.json").read_bytes())
    shop = Publisher(str(folder / "out"), "d")
    shop.publish(iter(table.select([SCRIPT, "y", "is_synthetic"]).to_batches()), **told)
    return render_history(history(shop))


def ran(tab: Tab, page: Path) -> list[object]:
    """What ran in a page, with everything in it opened."""
    tab.ask("Page.addScriptToEvaluateOnNewDocument", source=ARMED)
    tab.ask("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)
    tab.events.clear()
    tab.ask("Page.navigate", url=page.resolve().as_uri())
    while not tab.named("Page.loadEventFired"):
        tab.events.append(json.loads(tab.socket.recv(timeout=60)))
    ask(tab, "document.querySelectorAll('details').forEach(each => each.open = true)")
    tab.ask("Runtime.evaluate", expression="new Promise(done => setTimeout(done, 300))", awaitPromise=True)
    found = ask(tab, "window.marked")
    return found if isinstance(found, list) else ["the browser was not armed"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install Debian's package `chromium`")
def test_the_browser_would_tell(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(f'<!doctype html><b title="{PICTURE}</b>{SCRIPT}{SVG}{CLASS}x</details>')
    assert set(ran(tab, tmp_path / "bad.html")) >= {1, 2, 3, 4}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install Debian's package `chromium`")
def test_no_page_runs_what_the_data_are_called(tab: Tab, judged: Path) -> None:
    pages = [judged / "page.html", judged / "card.html", judged / "history.html", *sorted((judged / "docs").rglob("*.html"))]
    assert len(pages) > 3
    text = (judged / "page.html").read_text()
    assert "&lt;script&gt;mark(1)" in text and "onerror=&#39;mark(2)" in text and "&lt;details open ontoggle" in text
    assert all("default-src 'none'" in text for text in (page.read_text() for page in pages[2:]))
    assert "&lt;details open ontoggle" in (judged / "history.html").read_text()
    for page in pages:
        assert ran(tab, page) == [], page


def test_the_card_of_a_version_holds_no_tag_of_the_data(tmp_path: Path) -> None:
    columns = (Column(name=SCRIPT, kind="categorical", dtype="string", categories=(CLASS, LINK)),)
    table = pa.table({SCRIPT: [CLASS, LINK], "is_synthetic": [True, False]})
    facts = {"purpose": "augment", "verdict": "PASS", "reason": f"the cell {SCRIPT}={SVG} is thin", "family": "gan", "seed": 1}
    told = rest(tmp_path, schema=Schema(columns, target=SCRIPT), facts=facts)
    Publisher(str(tmp_path / "out"), "d").publish(iter(table.to_batches()), **told)
    front, _, body = (tmp_path / "out/d/v000001/README.md").read_text().removeprefix("---\n").partition("\n---\n")
    assert "&lt;script>mark(1)&lt;/script>" in body and "&lt;details" in body and "&lt;svg" in body
    assert not {"<script", "<details", "<svg", "](javascript"} & {
        w for w in ("<script", "<details", "<svg", "](javascript") if w in body
    }
    assert untagged("a <=50K, 3 < 4") == "a <=50K, 3 < 4"
    json.loads((tmp_path / "out/d/v000001/croissant.json").read_text())


def test_a_dataset_is_named_as_folders_are(tmp_path: Path) -> None:
    from configs.errors import PlanError
    from configs.load import load

    for name in ("<script>", "../x", "a/b", "", ".hidden"):
        (tmp_path / "p.yaml").write_text(f"name: {json.dumps(name)}\ndata: {{use: sklearn, set: iris}}\n")
        with pytest.raises(PlanError, match="name"):
            load(tmp_path / "p.yaml")
    with (tmp_path / "x.csv").open("w") as file:
        csv.writer(file).writerow([SCRIPT])
    assert Dataset.from_arrow(pa.table({SCRIPT: [1, 2]})).num_rows == 2
