"""Does the report show a person what the gate saw on pictures, and a release no real picture at all?"""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from benchmarks.gate_pictures_trials import joined
from data.dataset import Dataset
from data.images import Pictures
from tests.validators.picture_sets import changed, dataset, even, evidence, made
from tests.validators.test_report import Page
from tests.validators.test_report_browser import CONTRAST, SIZES, Tab, ask, tab  # noqa: F401 - `tab` is a fixture
from validators._pictures_missing import PictureModesCheck
from validators.base import Evidence
from validators.gate import Decision, decide
from validators.judge import pronounce, run
from validators.pictures import picture_checks
from validators.report import render_html, write_html
from validators.report.thumbs import closer, outline, shot

Array = np.ndarray


@pytest.fixture(scope="module")
def judged() -> tuple[Evidence, Decision, Pictures]:
    """A set without narrow pits and with a few copies: the evidence, what the gate says, and the training pictures."""
    train, holdout = made(even(60), 1), made(even(60), 2)
    drawn = joined(made(even(300), 3, without="narrow"), changed(train.take([70, 80, 130]), "fbn"))
    given = evidence(train, holdout, drawn)
    return given, pronounce(given, only=picture_checks(utility="off"), lineage={"seed": 7}), train


@pytest.fixture(scope="module")
def html(judged: tuple[Evidence, Decision, Pictures]) -> str:
    return render_html(judged[1], evidence=judged[0], title="drawn pits")


def images(html: str) -> list[Array]:
    """Every picture inside the page, decoded: (h, w) uint8 each."""
    found = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


def whole(html: str) -> str:
    """The page without the cuts that stand below pictures."""
    return re.sub(r'<svg[^>]*class="shot near-by[^>]*>.*?</svg>', "", html, flags=re.DOTALL)


def section(html: str, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL).group()  # type: ignore[union-attr]


def known(shown: list[Array], held: Pictures) -> list[bool]:
    every = {one[:, :, 0].tobytes() for one in held.pixels}
    return [one.tobytes() in every for one in shown]


def test_the_page_is_self_contained_and_speaks_of_pictures(html: str) -> None:
    page = Page(html)
    assert page.named("script") == [] and not re.findall(r'(?:src|href)="(?!data:|#)[^"]', html)
    assert all(each["href"].startswith("data:image/png;base64,") for each in page.named("image"))
    words = re.sub(r"base64,[^\"]*", "", html)
    assert (
        re.findall(r"\brows?\b", re.sub(r"<style>.*?</style>|<t[hd][^>]*scope=\"row\"|role=\"row\"", "", words, flags=re.S))
        == []
    )
    assert "look 9" not in html  # what means nothing to a person is not drawn column by column
    assert len(html) < 2_000_000


def test_what_is_missing_is_shown(html: str, judged: tuple[Evidence, Decision, Pictures]) -> None:
    train = judged[2]
    shown = images(whole(section(html, "missing")))
    places = [int(np.flatnonzero([(p[:, :, 0] == one).all() for p in train.pixels])[0]) for one in shown]
    modes = [train.sources[i] for i in places]
    assert len(modes) >= 5 and modes.count("narrow") >= 0.8 * len(modes)


def test_classes_stand_side_by_side(html: str, judged: tuple[Evidence, Decision, Pictures]) -> None:
    given, _, train = judged
    part = section(html, "gallery")
    shown = images(whole(part))
    assert len(shown) == 3 * 20
    drawn = given.memo["pictures"]["synthetic"]
    assert sum(known(shown, train)) == sum(known(shown, drawn)) == 30
    assert part.count('class="mark-edge"') == 40  # pits and lines are outlined, good parts are not
    assert part.count("near-by") == 40  # and stand enlarged below


def test_outlines_can_be_taken_away_without_a_script(html: str) -> None:
    assert html.count('<input type="checkbox" id="bare">') == 1
    rule = re.search(r"([^}]*)\{ visibility: hidden; \}", html)
    assert rule is not None and all(f"body:has(#bare:checked) .{name}" in rule[1] for name in ("halo", "mark-edge"))
    assert ".shot:hover .mark-edge" in rule[1]


def test_an_outline_keeps_clear_of_its_mark_and_the_mark_stands_enlarged_without_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=bool)
    mask[40:43, 10:14] = True  # a small one, and elsewhere a speck
    mask[2, 60] = True
    drawn = re.search(r'd="([^"]*)" class="mark-edge"', shot(pixels, mask, "pit"))
    assert drawn is not None
    corners = np.array([(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)", drawn[1])])
    near = corners[(abs(corners[:, 0] - 12) < 20) & (abs(corners[:, 1] - 41) < 20)]
    assert near[:, 1].min() <= 40 - 3 and near[:, 0].min() <= 10 - 3  # three pixels off, not on its edge
    cut = str(closer(pixels, mask, "pit"))
    assert "mark-edge" not in cut
    inside = images(cut)[0]
    assert inside.shape == (22, 22) and (inside == pixels[30:52, 1:23, 0]).all()
    everywhere = images(str(closer(pixels, np.ones((64, 64), dtype=bool), "stain")))[0]
    assert everywhere.shape == (64, 64)
    assert closer(pixels, np.zeros((64, 64), dtype=bool), "good") is None


def test_a_pass_on_few_pictures_does_not_read_as_a_plain_one() -> None:
    given = evidence(made(even(30), 1), made(even(30), 2), made(even(300), 3))
    found = run(PictureModesCheck(), given)
    said = decide([replace(found, verdict="PASS")], intent=given.intent)
    assert said.reason.startswith("with 90 judged real pictures, a kind of defect making up less than ")
    html = render_html(said, evidence=given)
    assert "as far as so few real pictures can tell" in html and 'class="hero coarse"' in html
    plain = render_html(replace(said, coarse=False), evidence=given)
    assert "as far as" not in plain and 'class="hero"' in plain


def test_the_nearest_pairs_stand_together(html: str, judged: tuple[Evidence, Decision, Pictures]) -> None:
    given, _, train = judged
    part = section(html, "nearest")
    shown = images(part)
    drawn = given.memo["pictures"]["synthetic"]
    for i, origin in enumerate((70, 80, 130)):
        place = next(k for k, one in enumerate(shown) if (one == drawn.pixels[900 + i, :, :, 0]).all())
        assert (shown[place + 1] == train.pixels[origin, :, :, 0]).all()
    assert part.count("nearer than every unseen one") >= 3
    assert "unseen real" in part


def test_the_map_shows_what_its_cells_look_like(html: str, judged: tuple[Evidence, Decision, Pictures]) -> None:
    shown = images(section(html, "map"))
    assert 40 <= len(shown) <= 64
    assert 15 <= sum(known(shown, judged[2])) <= 32


def test_a_release_shows_no_real_picture(judged: tuple[Evidence, Decision, Pictures]) -> None:
    given, said, train = judged
    html = render_html(said, evidence=given, fewest=5)
    shown = images(html)
    assert len(shown) > 30
    for side in ("train", "holdout"):
        assert not any(known(shown, given.memo["pictures"][side]))
    assert 'id="missing"' not in html and "shows no real one" in html


def test_figures_of_pictures_stand_in_the_checks(html: str) -> None:
    part = section(html, "checks")
    assert "KID, the whole set | real" in part and "FID, " in part and "compared by" in part and "sha256" in part
    assert "distance of the looks (KID)" in part.lower() or "Distance of the looks (KID)" in part


def test_the_same_evidence_gives_the_same_bytes(html: str, judged: tuple[Evidence, Decision, Pictures]) -> None:
    assert render_html(judged[1], evidence=judged[0], title="drawn pits") == html


def test_a_class_named_row_keeps_its_name() -> None:
    sides = []
    for seed, n in ((1, 12), (2, 12), (3, 40)):
        held = made({"normal": n, "pit": n}, seed, classes=("normal", "pit"))
        sides.append(replace(held, classes=("normal", "row")))
    given = evidence(*sides)
    html = render_html(pronounce(given, only=picture_checks(utility="off")), evidence=given)
    assert ">row<" in html and "a real picture of row" in html


def test_fewer_synthetic_pictures_than_unseen_ones_make_a_page_with_their_own_numbers() -> None:
    train, drawn = made(even(20), 1), dataset(made(even(4), 3)).table.to_pylist()
    drawn[0]["image"] = None  # cannot be judged, so that the others are counted from one on
    rows = dataset(made(even(4), 3))
    given = evidence(train, made(even(40), 2), Dataset(pa.Table.from_pylist(drawn, schema=rows.table.schema), rows.schema))
    part = section(render_html(pronounce(given, only=picture_checks(utility="off")), evidence=given), "nearest")
    numbers = [int(number) for number in re.findall(r'class="sub">(\d+) ·', part)]
    assert len(numbers) == 8 and 0 not in numbers and max(numbers) <= 11


def test_an_outline_runs_once_around_each_mark() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:3, 2:5] = True
    steps = re.findall(r"M(\d+) (\d+)([hv])(\d+)", outline(mask))
    assert sorted(steps) == [("2", "1", "h", "3"), ("2", "1", "v", "2"), ("2", "3", "h", "3"), ("5", "1", "v", "2")]
    mask[0, :] = mask[:, 0] = True  # at the very edge, too
    marked = set(zip(*np.nonzero(mask), strict=True))
    sides = sum((y + dy, x + dx) not in marked for y, x in marked for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    assert sum(int(length) for *_, length in re.findall(r"M(\d+) (\d+)([hv])(\d+)", outline(mask))) == sides


def test_large_and_coloured_pictures_are_small_on_the_page() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert len(shot(noise, None, "noise")) < 30_000
    named = shot(noise[:20, :20], np.ones((20, 20), dtype=bool), "<b>a pit</b>")
    assert "<b>" not in named and "blocky" in named and 'role="img"' in named


# --- in a browser


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine: install Debian's package `chromium`")
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("fewest", [1, 5])
def test_the_page_keeps_its_width_and_loads_nothing(
    tab: Tab, tmp_path: Path, judged: tuple[Evidence, Decision, Pictures], size: tuple[int, int], fewest: int  # noqa: F811
) -> None:  # fmt: skip
    page = write_html(judged[1], tmp_path / "report.html", evidence=judged[0], title="pits", fewest=fewest)
    seen = tab.open(page, size=size)
    asked: list[Any] = [e["request"]["url"] for e in tab.named("Network.requestWillBeSent")]
    assert [url for url in asked if not url.startswith("data:")] == [page.resolve().as_uri()]
    assert tab.named("Log.entryAdded") == tab.named("Runtime.exceptionThrown") == []
    assert seen["wide"] <= size[0] and seen["overflowing"] == 0 and seen["unnamed"] == 0
    assert ask(tab, "[...document.querySelectorAll('svg image')].every(e => e.getBoundingClientRect().width > 30)")
    assert ask(tab, CONTRAST) == []
