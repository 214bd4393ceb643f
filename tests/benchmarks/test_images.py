"""Does the benchmark of pictures take what it says, keep what it has, and count what it claims?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import pyarrow as pa
import pytest

from benchmarks import images, images_data, images_work
from benchmarks.images import Store, after, fits, main, plan, run
from benchmarks.images_data import Setting, absent
from benchmarks.images_record import headroom, mean, record, share, values
from benchmarks.images_work import Job, Limits, drawn, lengths, work
from data.dataset import Dataset
from data.errors import DataError
from data.images import CLASS, batch, schema
from generators.base import SILENT, Condition, Progress

SIZE = 16
LIMITS = Limits(steps=4, folds=2, ratios=(1.0, 2.0), minutes=0.01)


def _dataset(normal: int, flawed: int, seed: int) -> Dataset:
    """Grain, and grain with a bright square of 1 to 4 pixels a side."""
    rng = np.random.default_rng(seed)
    names = ["normal"] * normal + ["pitting"] * flawed
    pixels = rng.integers(90, 130, size=(len(names), SIZE, SIZE, 1)).astype(np.uint8)
    masks = np.zeros((len(names), SIZE, SIZE), dtype=bool)
    for i in range(normal, len(names)):
        side = 1 + i % 4
        masks[i, 4 : 4 + side, 6 : 6 + side] = True
    pixels[masks] = 230
    rows = batch(
        pixels, names, masks=list(masks), names=[str(i) for i in range(len(names))], groups=[str(i) for i in range(len(names))]
    )
    return Dataset(pa.Table.from_batches([rows]), schema(("normal", "pitting")))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> dict[str, Dataset]:
    parts = {"train": _dataset(20, 12, 0), "holdout": _dataset(12, 8, 1)}
    monkeypatch.setattr(images_data, "_parts", lambda name: parts)
    images_data._small.cache_clear()
    return parts


@dataclass
class Family:
    """Draws real pictures again, after two stages of training that it only tells of."""

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    fitted: ClassVar[list[tuple[int, int]]] = []

    pretrain_steps: int = 1000
    steps: int = 400

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Family:
        for total in (self.pretrain_steps, self.steps):
            for step in range(10, total + 1, 10):
                progress.advance(step, total, "step", loss=1.0)
        self.rows = train
        Family.fitted.append((self.pretrain_steps, self.steps))
        return self

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        assert where is not None
        own = np.flatnonzero(np.array(self.rows.column(CLASS).to_pylist()) == where[CLASS])
        yield from self.rows.take(np.random.default_rng(seed).choice(own, n)).table.combine_chunks().to_batches()


@pytest.fixture
def family(monkeypatch: pytest.MonkeyPatch) -> type[Family]:
    Family.fitted.clear()
    monkeypatch.setattr(images_work, "_class", lambda arm: Family)
    monkeypatch.setattr(images_work, "_family", lambda arm, settings: Family(**settings))
    return Family


# --- settings


def test_a_seed_picks_the_few_and_leaves_the_others(data: dict[str, Dataset]) -> None:
    setting = Setting.of("bsdata-3")
    first, again, other = (setting.places(seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    labels = np.array(data["train"].column(CLASS).to_pylist())[first]
    assert (labels == "normal").sum() == 20
    assert (labels == "pitting").sum() == 3


def test_small_defects_are_small_in_train_and_test(data: dict[str, Dataset]) -> None:
    setting = Setting.of("bsdata-small-2")
    test = setting.test()
    assert len(setting.train()) == 20 + 6
    assert sorted({int(mask.sum()) for mask in test.of("pitting").masks}) == [1, 4]
    assert len(test.of("normal")) == 12


@pytest.mark.parametrize("name", ["bsdata", "bsdata-0", "deeppcb-small-5", "rust-5"])
def test_a_setting_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="there is no setting"):
        Setting.of(name)


def test_more_than_there_are_cannot_be_asked_for(data: dict[str, Dataset]) -> None:
    with pytest.raises(DataError, match="12 training pictures of 'pitting', fewer than 13"):
        Setting.of("bsdata-13").places(0)


def test_data_that_is_not_there_is_skipped_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERPOISE_DATA", str(tmp_path))
    assert absent(["bsdata-5", "surfaces-5"]) == ["bsdata-5"]
    assert main(["--settings", "bsdata-5", "--store", str(tmp_path / "s.json"), "--out", ""]) == 0
    assert "skipped" in capsys.readouterr().err


def test_drawn_surfaces_need_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_data, "SURFACES", {"normal": 4, "scratch": 3, "pit": 6, "stain": 2})
    images_data._parts.cache_clear()
    setting = Setting.of("surfaces-2")
    assert (len(setting.train()), len(setting.few_of(0)), len(setting.test().of("pit"))) == (15, 4 + 3 + 2 + 2, 6)
    images_data._parts.cache_clear()


# --- cells


def test_a_cell_is_trained_scored_and_chosen(data: dict[str, Dataset], family: type[Family], tmp_path: Path) -> None:
    for arm in ("nothing", "all"):
        found = work(Job("score", "bsdata-3", 0, arm), LIMITS, tmp_path)
        assert 0 <= found["value"] <= 1 and set(found["ap"]) == {"normal", "pitting"}
    fit = work(job := Job("fit", "bsdata-3", 0, "gan"), LIMITS, tmp_path)
    assert fit["drawn"] == 6
    made = drawn(tmp_path, job)
    assert (len(made), made.classes, int(made.masked.sum())) == (6, ("normal", "pitting"), 6)
    assert "value" in work(Job("score", "bsdata-3", 0, "gan", 2.0), LIMITS, tmp_path)
    assert work(Job("choose", "bsdata-3", 0, "gan"), LIMITS, tmp_path)["ratio"] in (0.0, 1.0, 2.0)
    assert set(work(Job("score", "bsdata-seg-3", 0, "classical"), LIMITS, tmp_path)) == {"value", "seconds"}


def test_a_training_is_cut_to_the_minutes_and_a_short_one_is_left(data: dict[str, Dataset], family: type[Family]) -> None:
    few = Setting.of("bsdata-3").few_of(0)
    assert lengths("gan", few, 0, Limits(minutes=60.0)) == {}
    cut = lengths("gan", few, 0, Limits(minutes=1e-9))
    assert set(cut) == {"pretrain_steps", "steps"}
    assert max(cut.values()) < 10
    given = Limits(minutes=1e-9, given={"gan": {"pretrain_steps": 50}})
    assert set(lengths("gan", few, 0, given)) == {"steps"}


def test_a_family_that_is_not_there_is_an_error_in_its_cell(data: dict[str, Dataset], tmp_path: Path) -> None:
    assert work(Job("fit", "bsdata-3", 0, "dreams"), LIMITS, tmp_path)["error"]


# --- the run


def _does(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
    if job.kind == "fit":
        cache.mkdir(parents=True, exist_ok=True)
        images_work.kept_in(cache, job).write_bytes(b"")
        return {"drawn": 1}
    return {"value": 0.5}


def test_a_run_that_was_stopped_goes_on_and_tries_again_what_failed(tmp_path: Path) -> None:
    asked: list[str] = []

    def does(job: Job, limits: Limits, cache: Path) -> dict[str, Any]:
        asked.append(job.key)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return {"error": "no"} if job.arm == "nothing" and len(asked) < 3 else _does(job, limits, cache)

    jobs = [*plan(["bsdata-3"], ["nothing", "classical", "gan"], [0]), *fits(["bsdata-3"], ["gan"], [0])]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, Store(tmp_path / "s.json", LIMITS), LIMITS, 1, does)
    store = Store(tmp_path / "s.json", LIMITS)
    assert set(store.cells) == {"bsdata-3|0|nothing", "bsdata-3|0|classical"}
    asked.clear()
    asked += ["", "", ""]
    run(jobs, store, LIMITS, 1, does)
    assert asked[3:] == ["bsdata-3|0|nothing", *(f"bsdata-3|0|gan|{last}" for last in ("fit", "1", "2", "choice"))]
    asked.clear()
    run(jobs, Store(tmp_path / "s.json", LIMITS), LIMITS, 1, does)
    assert asked == []


def test_cells_of_other_limits_are_not_mixed(tmp_path: Path) -> None:
    Store(tmp_path / "s.json", LIMITS).keep(Job("score", "bsdata-3", 0, "nothing"), {"value": 1.0})
    with pytest.raises(DataError, match="other limits"):
        Store(tmp_path / "s.json", Limits(steps=5))


def test_another_detector_keeps_what_was_drawn_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "s.json", LIMITS)
    run([*plan(["bsdata-3"], ["nothing"], [0]), *fits(["bsdata-3"], ["gan"], [0])], store, LIMITS, 1, _does)
    assert len(Store(tmp_path / "s.json", LIMITS).cells) == 5
    monkeypatch.setattr(images, "detector", lambda: "another")
    assert set(Store(tmp_path / "s.json", LIMITS).cells) == {"bsdata-3|0|gan|fit"}


def test_two_processes_do_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.json", LIMITS)
    run(list(fits(["bsdata-3"], ["gan", "vae"], [0])), store, LIMITS, 2, _does)
    assert len(store.cells) == 2 * (1 + len(after(Job("fit", "bsdata-3", 0, "gan"), LIMITS)))


def test_further_trials_of_a_detector_join_the_first_in_one_mean(tmp_path: Path) -> None:
    store = Store(tmp_path / "cells.json", LIMITS)
    run([*plan(["bsdata-3"], ["classical"], [0]), *fits(["bsdata-3"], ["gan"], [0])], store, LIMITS, 1, _does)
    before = dict(store.cells)
    run([*plan(["bsdata-3"], ["classical"], [0], 3), *fits(["bsdata-3"], ["gan"], [0])], store, LIMITS, 1, _does, trials=3)
    added = sorted(set(store.cells) - set(before))
    assert {"bsdata-3|0|classical#1", "bsdata-3|0|classical#2"} < set(added) and all("#" in key for key in added)
    assert all(store.cells[key] is before[key] for key in before)
    store.cells["bsdata-3|0|classical#1"] = {"value": store.cells["bsdata-3|0|classical"]["value"] + 0.3}
    store.cells["bsdata-3|0|classical#2"] = dict(store.cells["bsdata-3|0|classical"])
    assert values(store.cells, "bsdata-3", [0], "classical")[0] == pytest.approx(before["bsdata-3|0|classical"]["value"] + 0.1)


def test_settings_of_families_are_read_and_others_refused() -> None:
    assert images._given(["gan.width=8", "gan.start=false"]) == {"gan": {"width": 8, "start": False}}
    with pytest.raises(DataError, match="family.setting=value"):
        images._given(["width=8"])


# --- the record


def test_the_share_of_the_headroom_has_the_interval_of_the_gain() -> None:
    gains, rooms = [0.04, 0.05, 0.06], [0.1, 0.2, 0.15]
    assert share(gains, rooms) == pytest.approx(tuple(end / 0.15 for end in mean(gains)))
    assert share(gains, rooms)[1] > 0
    assert np.isnan(share([0.1], [0.2])[1])


def test_mean_has_students_interval() -> None:
    assert mean([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 2.484, 2.0 + 2.484), abs=1e-3)


def _cells() -> dict[str, dict[str, Any]]:
    cells: dict[str, dict[str, Any]] = {}
    for seed, base in enumerate((0.80, 0.82, 0.79)):
        at = f"bsdata-3|{seed}|"
        for arm, plus in (("nothing", -0.1), ("balanced", -0.02), ("classical", 0.0), ("all", 0.1)):
            cells[at + arm] = {"value": base + plus}
        cells[at + "gan|fit"] = {"drawn": 30, "fit_seconds": 9.0, "pictures_per_second": 300.0, "cut": {"steps": 70}}
        cells[at + "gan|1"], cells[at + "gan|2"] = {"value": base + 0.05}, {"value": base - 0.05}
        cells[at + "gan|choice"] = {"ratio": 1.0 if seed else 0.0}
        cells[at + "vae|fit"] = {"error": "KeyFault: unknown family 'image.vae'"}
    return cells


def test_the_choice_of_nothing_is_the_cheap_way_itself() -> None:
    assert values(_cells(), "bsdata-3", range(3), "gan", "choice") == pytest.approx({0: 0.80, 1: 0.87, 2: 0.84})
    assert headroom(_cells(), "bsdata-3", range(3)) == pytest.approx(0.1)
    assert headroom({}, "bsdata-3", range(3)) is None


def test_the_record_holds_command_seeds_shares_and_what_is_missing() -> None:
    arms = ["nothing", "balanced", "classical", "gan", "vae", "all"]
    text = record(_cells(), ["bsdata-3", "deeppcb-5"], arms, range(3), LIMITS, "python -m benchmarks.images --seeds 3")
    assert "    python -m benchmarks.images --seeds 3" in text
    assert "Seeds 0, 1, 2" in text and "torch " in text
    assert "| bsdata-3 | 0.803 | 0.903 | +0.100 (+0.100 to +0.100) | yes |" in text
    assert "| deeppcb-5 | | | not measured | |" in text
    (chosen,) = (line for line in text.splitlines() if "**gan, chosen**" in line)
    assert "+0.033" in chosen and "+33%" in chosen and chosen.endswith("| 0, 1, 1 |")
    assert "| gan 2 : 1 | 3 |" in text and "-50% (-50% to -50%)" in text
    assert "- gan: 9 s to learn, 300 pictures/s; cut to the time: steps 70." in text
    assert "- vae is missing: KeyFault: unknown family 'image.vae'." in text


def test_the_whole_walk_writes_the_page(
    data: dict[str, Dataset], family: type[Family], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "absent", lambda names: [])
    given = "--settings bsdata-3 --arms nothing classical gan all --seeds 1 --steps 3 --ratios 1 --minutes 60 --everywhere "
    paths = ["--store", str(tmp_path / "s.json"), "--out", str(tmp_path / "page.md")]
    assert main([*given.split(), *paths]) == 0
    cells = json.loads((tmp_path / "s.json").read_text())["cells"]
    assert set(cells) == {f"bsdata-3|0|{last}" for last in ("nothing", "classical", "all", "gan|fit", "gan|1", "gan|choice")}
    assert "**gan, chosen**" in (tmp_path / "page.md").read_text()


def test_a_worker_ends_when_what_started_it_is_killed(tmp_path: Path) -> None:
    worker = "import os, time; from benchmarks.images_work import ends_with; ends_with(os.getppid(), 0.05); time.sleep(60)"
    starts = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {worker!r}]).pid, flush=True); input()"
    parent = subprocess.Popen([sys.executable, "-c", starts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(2)
    assert child.is_running()
    parent.kill()
    parent.wait()
    child.wait(timeout=20)
