"""Is the number of rows to add the one that helps, and none where none do?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv
from typer.testing import CliRunner

from data.dataset import Dataset
from data.infer import infer
from flows.amount import NothingToAddError, decide
from flows.cli import app
from validators._utility_rows import CannotJudgeError
from validators.worth import LOGISTIC, NOTHING, WEIGHTS, Arm, Worth, doubt, figures, trained, wanted, worth

runner = CliRunner()


def rows(n: int, rare: int, seed: int, gap: float = 3.0) -> Dataset:
    """A rare class at some distance from the other, in two numbers of eight."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 8))
    x[:rare, :2] += gap
    names = np.where(np.arange(n) < rare, "rare", "common")
    columns = {f"x{j}": x[:, j] for j in range(8)} | {"label": names}
    return Dataset.from_arrow(pa.table(columns).take(pa.array(rng.permutation(n))), target="label")


def oracle(train: Dataset, most: dict[str, int], seed: int) -> dict[str, Dataset]:
    """What a perfect family would draw."""
    found = {}
    for level, n in most.items():
        many = rows(2 * n, n, seed + 1000).table
        found[level] = Dataset(many.filter(pa.compute.equal(many.column("label"), level)).slice(0, n), train.schema)
    return found


def noise(train: Dataset, most: dict[str, int], seed: int) -> dict[str, Dataset]:
    """Rows of the other class under the name of the rare one."""
    found = {}
    for level, n in most.items():
        wrong = rows(n, 0, seed + 2000).table
        found[level] = Dataset(wrong.set_column(8, wrong.schema.field(8), pa.array([level] * n)), train.schema)
    return found


def test_a_family_that_knows_helps_and_one_that_lies_does_not() -> None:
    train = rows(700, 24, 0, gap=1.8)
    found = worth(train, {"oracle": oracle, "noise": noise}, scarce=["rare"], levels=(0.2, 1.0), seed=0)
    gains = {arm: found.gain(arm)[0] for arm in found.scores}
    assert gains[Arm("oracle", 1.0)] > 0.05 and gains[Arm("noise", 1.0)] < 0 and gains[Arm(NOTHING)] == 0
    picked = decide(found, {"common": 676, "rare": 24}, {"oracle": 0.05})
    assert decide(found, {"common": 676, "rare": 24}, {}).family == "oracle"
    assert picked.family == "oracle" and picked.draw["rare"] in (round(0.2 * 676) - 24, round(0.3 * 676) - 24, 676 - 24)
    assert "oracle brought +0.050 on other tables" in picked.says
    assert "rows of rare" in picked.says and "in 4 folds of train" in picked.says
    told = json.loads(json.dumps(picked.to_json()))
    assert told["trials"][0]["method"] == "oracle" and told["failed"] == {}


def test_nothing_is_added_where_nothing_helps() -> None:
    train = rows(700, 24, 0, gap=1.8)
    found = worth(train, {"noise": noise}, scarce=["rare"], levels=(0.2, 1.0), seed=0)
    picked = decide(found, {"common": 676, "rare": 24}, {})
    assert picked.family is None and picked.draw == {} and picked.says.startswith("add nothing")


def test_what_is_known_from_other_data_counts_where_folds_say_little() -> None:
    rng = np.random.default_rng(0)
    noisy = {Arm(NOTHING): np.full((4, 1), 0.5), Arm(WEIGHTS): np.full((4, 1), 0.49)}
    noisy |= {Arm("known", 1.0): 0.5 + rng.normal(0, 0.2, (4, 1)), Arm("unknown", 1.0): 0.5 + rng.normal(0, 0.2, (4, 1))}
    found = Worth(("rare",), {"rare": 30, "common": 900}, noisy)
    expected = found.expected({"known": 0.06}, 0.04)
    assert 0.03 < expected[Arm("known", 1.0)] < 0.09 and abs(expected[Arm("unknown", 1.0)]) < 0.02
    assert expected[Arm(NOTHING)] == 0
    sure = {**noisy, Arm("known", 1.0): np.full((4, 1), 0.4) + np.arange(4)[:, None] * 1e-4}
    assert Worth(("rare",), {}, sure).expected({"known": 0.06}, 0.04)[Arm("known", 1.0)] < -0.09


def test_the_luck_of_folds_is_no_gain() -> None:
    """Of several ways one always comes out above nothing: that alone adds no rows, what is known from elsewhere does."""
    nothing, lucky = np.array([[0.50], [0.52], [0.48], [0.50]]), np.array([[0.53], [0.51], [0.51], [0.48]])
    ways = {Arm(NOTHING): nothing, Arm(WEIGHTS): nothing - 0.01, Arm("f", 1.0): lucky}
    found = Worth(("rare",), {"rare": 30}, ways)
    gain, error = found.gain(Arm("f", 1.0))
    assert 0 < gain < error
    answer = decide(found, {"common": 600, "rare": 30}, {})
    assert answer.family is None and "it is not sure enough that drawn rows help" in answer.says
    known = decide(found, {"common": 600, "rare": 30}, {"f": 0.08})
    assert known.family == "f" and "the folds alone would not tell it from nothing" in known.says
    assert doubt(None, 0.04) == 0 == doubt(0.0, 0.04) and doubt(0.02, 0.04) == pytest.approx(0.016)


def test_a_family_that_fails_loses_and_the_others_go_on() -> None:
    def broken(train: Dataset, most: dict[str, int], seed: int) -> dict[str, Dataset]:
        raise MemoryError("no room for\na model")

    train = rows(400, 24, 0)
    found = worth(train, {"broken": broken, "oracle": oracle}, scarce=["rare"], levels=(1.0,), seed=0)
    assert found.failed == {"broken": "no room for a model"} and Arm("oracle", 1.0) in found.scores


def test_too_few_rows_to_ask() -> None:
    with pytest.raises(CannotJudgeError, match="too few rows for 4 folds"):
        worth(rows(100, 3, 0), {}, scarce=["rare"])


def test_groups_stay_together() -> None:
    data = rows(400, 40, 0)
    group = pa.array([f"g{i // 4}" for i in range(400)])
    table = data.table.append_column("unit", group)
    grouped = Dataset(table, infer(table, target="label", group="unit"))
    seen: list[tuple[set[str], int]] = []

    def note(train: Dataset, most: dict[str, int], seed: int) -> dict[str, Dataset]:
        seen.append((set(train.column("unit").to_pylist()), train.num_rows))
        return {}

    worth(grouped, {"note": note}, scarce=["rare"], seed=0)
    assert len(seen) == 4 and all(len(units) * 4 == n < 400 for units, n in seen)


def test_rows_that_bring_a_class_to_a_share_of_the_largest() -> None:
    assert wanted({"a": 1000, "b": 100, "c": 700}, 0.5) == {"b": 400}
    assert wanted({"a": 1000, "b": 100, "c": 700}, 1.0) == {"b": 900, "c": 300}
    assert wanted({"a": 1000, "b": 100, "c": 700}, 0.5, both=True) == {"b": 400, "a": 500}


def test_rows_of_the_largest_class_are_drawn_where_they_help() -> None:
    base = np.full((4, 1), 0.5) + np.arange(4)[:, None] * 1e-3
    scores = {Arm(NOTHING): base, Arm(WEIGHTS): base - 0.01, Arm("f", 0.3): base + 0.02, Arm("f", 0.3, True): base + 0.05}
    picked = decide(Worth(("rare",), {"rare": 30}, scores), {"common": 900, "rare": 30}, {})
    assert picked.draw == {"rare": 240, "common": 270} and picked.levels == {"rare": 0.3}


def test_figures_are_those_of_the_library() -> None:
    from sklearn.metrics import average_precision_score, balanced_accuracy_score

    train, test = rows(600, 60, 0), rows(600, 60, 1)
    given = trained(train, test, LOGISTIC)
    place = test.schema.classes().index("rare")
    hit = test.labels() == place
    found = figures(given, test.labels(), place)
    assert found["average_precision"][0] == pytest.approx(average_precision_score(hit, given[:, place]), abs=1e-9)
    right = balanced_accuracy_score(hit, given.argmax(axis=1) == place)
    assert found["balanced_accuracy"][0] == pytest.approx(right, abs=1e-9)


# --- in a run -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    csv.write_csv(rows(900, 90, 0, gap=0.0).table, tmp_path / "rows.csv")  # the class is chance: nothing can help
    text = "name: p\ndata: {use: csv, path: rows.csv}\ntarget: label\ngenerator: {use: smote}\nsample: {rows: sweep}\n"
    (tmp_path / "plan.yaml").write_text(text + "gate: {detect: 1, draws: 10, utility: 'off'}\n")
    return tmp_path


def said(*words: str) -> tuple[int, str]:
    answer = runner.invoke(app, list(words))
    return answer.exit_code, " ".join(answer.output.split())


def test_a_run_that_finds_nothing_to_add_publishes_nothing_without_force(desk: Path) -> None:
    assert NothingToAddError.exit_code == 3
    code, text = said("run", "plan.yaml", "--quiet")
    assert code == 3 and "add nothing" in text and "--force" in text and not (desk / "published").exists()
    choice = json.loads(next(desk.glob("runs/p/*/choice.json")).read_text())
    assert choice["sweep"]["family"] is None and choice["sweep"]["trials"]
    code, text = said("run", "plan.yaml", "--quiet", "--force")
    assert code in (0, 3, 4) and "--force: add nothing" in text
    assert list(desk.glob("runs/p/*/samples"))


def test_a_plan_foresees_the_most_that_a_sweep_could_draw(desk: Path) -> None:
    code, text = said("plan", "plan.yaml", "--no-measure")
    assert code == 0 and "that is the most: the sweep finds how many help" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [("target=null", "for tables with a target of classes"), ("sample.mix=natural", "so sample.mix has nothing to say")],
)
def test_a_sweep_that_makes_no_sense_is_one_sentence(desk: Path, override: str, words: str) -> None:
    code, text = said("plan", "plan.yaml", "-o", override)
    assert code == 2 and words in text
