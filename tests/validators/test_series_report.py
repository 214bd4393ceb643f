"""Does the report show a person how real and synthetic windows run, and a release no real window at all?"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.samples import pump
from data.schema import Schema
from data.windows import batch, schema, windows
from tests.validators.test_report import Page
from validators.base import Culprit, Evidence, Finding, Intent
from validators.gate import Decision, decide
from validators.judge import pronounce
from validators.report import courses, render_html
from validators.series import prepare_series, series_checks

Array = np.ndarray
COUNTS = {"steady": 40, "start": 30}
PLAIN = Intent(detect=1.0)


def pumps(seed: int, each: int = 1, without: str = "") -> Dataset:
    table = pump.draw({name: each * n for name, n in COUNTS.items()}, length=48, seed=seed)
    kept = [i for i, source in enumerate(table.column("source").to_pylist()) if not without or f"/{without}/" not in source]
    return Dataset(table.take(kept), pump.pump_schema(COUNTS))


def dataset(rows: Schema, values: Array, lengths: Array, classes: list[str] | None = None) -> Dataset:
    return Dataset(pa.Table.from_batches([batch(rows, values, lengths, classes=classes)]), rows)


def noise(n: int, seed: int, *, names: tuple[str, ...] = ("heat",), classes: tuple[str, ...] = (), of: str = "") -> Dataset:
    """Windows of 20 to 40 readings, some of them missing, of a class each in turn or of one."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.standard_normal((n, len(names), 40)), axis=2).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    lengths = rng.integers(20, 41, n)
    rows = schema(names, classes, period=300.0)
    named = [of or classes[i % len(classes)] for i in range(n)] if classes else None
    return dataset(rows, values, lengths, named)


def page_of(train: Dataset, holdout: Dataset, made: Dataset, **kwargs: Any) -> str:
    evidence = prepare_series(train, holdout, made, intent=PLAIN)
    return render_html(decide([], intent=PLAIN), evidence=evidence, **kwargs)


def section(html: str, name: str) -> str:
    return re.search(rf'<section id="{name}".*?</section>', html, re.DOTALL).group()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def judged() -> tuple[Evidence, Decision]:
    """Pumps that never cycle and never start at once: the evidence, and what the gate says of modes."""
    made = pumps(3, 4, without="direct")
    evidence = prepare_series(pumps(1, 2), pumps(2, 2), made, intent=PLAIN)
    return evidence, pronounce(evidence, only=series_checks(utility="off"), lineage={"seed": 7})


@pytest.fixture(scope="module")
def html(judged: tuple[Evidence, Decision]) -> str:
    return render_html(judged[1], evidence=judged[0], title="pumps")


def test_the_page_is_self_contained_and_speaks_of_windows(html: str) -> None:
    page = Page(html)
    assert page.named("script") == [] and not re.findall(r'(?:src|href)="(?!data:|#)[^"]', html)
    spoken = re.sub(r"<style>.*?</style>|scope=\"row\"|role=\"row\"", "", html, flags=re.DOTALL)
    assert re.findall(r".{30}\b[Rr]ows?\b.{30}", spoken) == []
    assert not re.search(r"[^-]\bpictures?\b", spoken)
    assert len(section(html, "courses")) < 320_000


def test_every_class_and_channel_is_drawn_and_told(html: str) -> None:
    drawn = section(html, "courses")
    labels = re.findall(r'<svg[^>]*aria-label="([^"]*)"', drawn)
    for name in ("steady", "start"):
        for channel in pump.CHANNELS:
            mine = [label for label in labels if f"{channel} in windows of class {name}" in label]
            assert len(mine) == 4, (name, channel, labels)
            assert any("synthetic" in label for label in mine)
    assert "nan" not in drawn and "inf" not in re.sub(r"<[^>]*>", "", drawn)
    assert "over 48 s, real: mean" in drawn and "Still at its level" in drawn
    assert drawn.count('class="course real"') >= 2 * 3 * 4, "three real windows of each class and channel of numbers"
    assert "What can be read of a window" in html and "mean of pressure" in section(html, "columns")
    assert "look 9" not in section(html, "columns")


def test_a_missing_cell_is_shown_as_real_windows(judged: tuple[Evidence, Decision]) -> None:
    evidence, _ = judged
    cells = ("class start", "mean of pressure up to 3", "what no one knows")
    culprits = tuple(Culprit(cell=cell, expected=30.0, observed=3.0, ratio=0.1) for cell in cells)
    modes = Finding("modes", "BLOCK", value=0.1, limit=0.5, summary="thin", culprits=culprits)
    html = render_html(decide([modes], intent=PLAIN), evidence=evidence)
    missing = section(html, "missing")
    assert missing.count("3 where 30 were expected") == 2, "a cell that cannot be told has no windows to show"
    assert missing.count("of a real window in this cell, over 48 s") == 2 * 3 * 4
    whole = replace(modes, verdict="PASS", culprits=())
    assert '<section id="missing"' not in render_html(decide([whole], intent=PLAIN), evidence=evidence)


def test_a_release_shows_no_real_window(judged: tuple[Evidence, Decision]) -> None:
    evidence, decision = judged
    drawn = section(render_html(decision, evidence=evidence, fewest=20), "courses")
    assert 'class="course real"' not in drawn and 'class="course fake"' in drawn
    assert 'class="band real"' not in drawn, "ten windows would lie beyond each of its ends"
    assert 'class="course mean real"' in drawn
    hidden = section(render_html(decision, evidence=evidence, fewest=100), "courses")
    assert 'class="course mean real"' not in hidden and 'class="curve real"' not in hidden
    assert '<section id="missing"' not in render_html(decision, evidence=evidence, fewest=20)


def test_one_channel_without_a_class_with_gaps_and_of_several_lengths() -> None:
    drawn = section(page_of(noise(60, 1), noise(30, 2), noise(90, 3)), "courses")
    assert "heat, over 200 min" in drawn or "heat, over 3.33 h" in drawn
    assert "<h3>" not in drawn and "nan" not in drawn


def test_a_class_without_a_synthetic_window_is_drawn_beside_nothing() -> None:
    sets = [noise(n, seed, classes=("calm", "wild"), of=of) for n, seed, of in ((60, 1, ""), (40, 2, ""), (60, 3, "calm"))]
    drawn = section(page_of(*sets), "courses")
    assert "heat in windows of class wild, over" in drawn and "synthetic: no reading" in drawn and "nan" not in drawn


def test_names_of_channels_and_classes_are_escaped() -> None:
    names, classes = ("<script>alert(1)</script>", 'a"b'), ("<b>calm", "wild")
    sets = [noise(n, seed, names=names, classes=classes) for n, seed in ((60, 1), (40, 2), (60, 3))]
    html = page_of(*sets)
    assert Page(html).named("script") == [] and "<b>calm" not in html and "&lt;script&gt;alert(1)" in html


def test_the_spectrum_shows_the_period_and_memory_falls_as_it_should() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(128)
    waves = np.sin(2 * np.pi * t[None, :] / 8 + rng.uniform(0, 6, (40, 1))) + 0.1 * rng.standard_normal((40, 128))
    rows = schema(("wave", "gate"), levels=((), ("off", "on")), period=1.0)
    both = np.stack([waves, np.broadcast_to(t % 2, waves.shape)], axis=1).astype(np.float32)
    held = windows(dataset(rows, both, np.full(40, 128)))
    x, power = courses.spectrum(held, 0)
    assert abs(2 / x[int(np.nanargmax(power))] - 8) < 1.1
    memory = courses.memory(held, 0, 16, levels=False)
    assert memory[0] == pytest.approx(1) and memory[4] < -0.8 and memory[8] > 0.8
    # A level that changes with each reading stands where it stood after two.
    assert courses.memory(held, 1, 4, levels=True).tolist() == [1, 0, 1, 0, 1]


def test_a_constant_channel_has_no_spectrum() -> None:
    rows = schema(("still",))
    held = windows(dataset(rows, np.full((6, 1, 20), 3, np.float32), np.full(6, 20)))
    assert np.isnan(courses.spectrum(held, 0)[1]).all() and np.isnan(courses.memory(held, 0, 5, levels=False)).all()
    label = courses.curves([(*courses.spectrum(held, 0), "curve real")], ("0", "1"), "Spectrum")
    assert "nothing to draw" in label


def test_a_spike_survives_thinning() -> None:
    line = np.zeros(5_000)
    line[1_234] = 9.0
    axis = courses.axis_of([np.array([[0.0, 9.0]])], 5_000, None)
    drawn = courses.panel(line[None, :], [0], axis, "real", "a spike", 80, None)
    path = re.search(r'<path d="([^"]*)" class="course real"', drawn).group(1)  # type: ignore[union-attr]
    heights = [float(point.split()[1]) for point in path.removeprefix("M").split("L")]
    assert len(heights) <= 80 and min(heights) == pytest.approx(courses.TOP + courses.ROOM)


def test_an_end_of_a_scale_next_to_nothing_reads_as_nothing() -> None:
    read = np.array([[8e-7, 1.0, 2.0]])
    drawn = courses.panel(read, [0], courses.Axis(8e-7, 2.0, 3, 1.0), "real", "flow", 80, None)
    ends = re.findall(r'text-anchor="end">([^<]*)<', drawn)
    assert ends == ["0", "2", "3 s"]


def test_a_page_of_findings_alone_has_no_courses() -> None:
    done = Finding("modes", "PASS", value=1.0, limit=0.5, summary="all well")
    html = render_html(decide([done], intent=PLAIN))
    assert '<section id="courses"' not in html and '<section id="missing"' not in html
