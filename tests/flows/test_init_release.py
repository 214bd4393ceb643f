"""Does `init` write a release that runs, tells nothing of single rows, and costs what `plan` says?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from configs.load import load
from flows.cli import app
from flows.measure import PATIENCE, _Clock, _EnoughError
from tests.generators.test_dp import people

pytest.importorskip("opacus")
pytest.importorskip("presidio_analyzer")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
runner = CliRunner()


def said(*words: str) -> tuple[int, str]:
    answer = runner.invoke(app, [*words])
    return answer.exit_code, " ".join(answer.output.split())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table = people(2500).table
    town = [["Uniqueville"], ["york"] * 2499]
    pacsv.write_csv(table.append_column("town", [sum(town, [])]), tmp_path / "people.csv")
    return tmp_path


def test_init_of_a_release_names_no_extreme_and_no_rare_level_and_runs(desk: Path) -> None:
    code, text = said("init", "people.csv", "--use", "release")
    assert code == 0, text
    plan = (desk / "people.yaml").read_text()
    rows = pacsv.read_csv(desk / "people.csv")
    ends = [str(f(rows.column(name).to_numpy())) for name in ("age", "pay") for f in (np.min, np.max)]
    assert "Uniqueville" not in plan and not [end for end in ends if f": {end}" in plan and end != "0.0"]
    assert "#   city: {categories: [hull, leeds, ripon, york], nullable: false}" in plan
    assert (
        "#   town: {categories: [york, ...], nullable: false}" in plan and "#   age: {low: , high: , nullable: false}" in plan
    )
    read = load(desk / "people.yaml")
    assert read.purpose == "release" and read.privacy.bounds == "budget" and not read.sample.include_real
    code, text = said(
        "run", "people.yaml", "--quiet", "-o", "gate.utility=off", "-o", "gate.draws=2", "-o", "generator.steps=30"
    )
    assert code in (0, 3, 4), text
    assert "epsilon 3" in said("plan", "people.yaml", "--no-measure")[1]


def test_plan_measures_a_release_on_few_rows_without_their_noise(desk: Path) -> None:
    """A brief fit of some hundred rows would see no level through the noise of a small budget, and be taken for a refusal."""
    said("init", "people.csv", "--use", "release")
    code, text = said("plan", "people.yaml", "-o", "generator.use=dp_autoregressive", "-o", "generator.steps=2000")
    assert code == 0 and "not measured" not in text and "fitting about" in text, text


def test_a_class_of_too_few_rows_stands_against_a_release(desk: Path) -> None:
    table = people(2500).table
    label = np.array(table.column("label").to_pylist())
    rare = np.where(np.arange(2500) < 12, "odd", label)
    place = table.column_names.index("label")
    pacsv.write_csv(table.set_column(place, "label", pa.array(rare)), desk / "people.csv")
    said("init", "people.csv", "--use", "release", "--target", "label")
    code, text = said("plan", "people.yaml", "-o", "generator.use=dp_marginals", "-o", "generator.marginals=1")
    assert code == 0 and "no-go: " in text and "needs some 20 rows of a class, and 'odd' has 8 for it" in text, text
    assert "not measured" not in text


def test_avoiding_copies_is_no_promise_and_says_so(desk: Path) -> None:
    code, text = said("init", "people.csv", "--avoid", "privacy")
    assert code == 0 and "promises nothing" in text and "--use release" in text
    assert load(desk / "people.yaml").purpose == "augment"


def test_pictures_have_no_release(desk: Path) -> None:
    from PIL import Image

    for name in ("good", "bad"):
        (desk / "parts" / name).mkdir(parents=True)
        for i in range(4):
            noise = np.random.default_rng(i).integers(0, 255, (16, 16), dtype=np.uint8)
            Image.fromarray(noise).save(desk / f"parts/{name}/{i}.png")
    code, text = said("init", "parts", "--use", "release")
    assert code == 2 and "no family promises differential privacy of pictures" in text and not (desk / "parts.yaml").exists()


def test_what_comes_before_the_first_step_is_no_step() -> None:
    """A fit that prepares for as long as it may be watched is watched until its second step."""
    now = {"s": 0.0}
    clock = _Clock(1.0)
    clock.began = 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.measure.time.monotonic", lambda: now["s"])
        now["s"] = 2.0
        clock.advance(1, 100, "step")
        now["s"] = 2.1
        with pytest.raises(_EnoughError):
            clock.advance(2, 100, "step")
        assert clock.whole() == pytest.approx(2.1 + 98 * 0.1)
        slow = _Clock(1.0)
        slow.began, now["s"] = 0.0, PATIENCE + 0.1
        with pytest.raises(_EnoughError):
            slow.advance(1, 100, "step")
