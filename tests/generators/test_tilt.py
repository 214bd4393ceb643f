"""Does a scarce class inherit from all rows, and lie where its own few say?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.ensemble import RandomForestClassifier

from data.dataset import Dataset
from generators.base import GeneratorError, table
from generators.tabular._tilt_odds import Odds
from generators.tabular.tilt import Tilt

QUICK = {"epochs": 6, "min_steps": 200, "width": 32, "device": "cpu"}


def rows(n: int, few: int, seed: int) -> Dataset:
    """Two numbers that hang together (r = .9) and a level; the rare class lies along one direction of all of them."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n * 40)
    b = 0.9 * a + np.sqrt(1 - 0.81) * rng.normal(size=n * 40)
    level = rng.random(n * 40) < 0.5
    rare = rng.random(n * 40) < 1 / (1 + np.exp(5 - 1.5 * a - 1.5 * level))
    kept = np.concatenate([np.flatnonzero(rare)[:few], np.flatnonzero(~rare)[: n - few]])
    names = np.where(rare, "rare", "common")[kept]
    columns = {"a": a[kept], "b": b[kept], "level": np.where(level, "up", "down")[kept], "class": names}
    return Dataset.from_arrow(pa.table(columns), target="class")


@pytest.fixture(scope="module")
def fitted() -> Tilt:
    return Tilt(**QUICK).fit(rows(3000, 30, 0), seed=0)


def drawn(model: Tilt, n: int, **where: str) -> pa.Table:
    return table(model.sample(n, where=where, seed=1), model.finish_.schema.arrow())


def test_a_scarce_class_lies_where_it_should_and_hangs_together_as_all_rows_do(fitted: Tilt) -> None:
    real = rows(20_000, 2000, 5).table
    real = real.filter(pc.equal(real.column("class"), "rare"))
    made = drawn(fitted, 1000, **{"class": "rare"})
    assert set(made.column("class").to_pylist()) == {"rare"}
    for name in ("a", "b"):
        mean, own = (np.mean(part.column(name).to_numpy()) for part in (real, made))
        assert own == pytest.approx(mean, abs=0.45)  # all rows together lie at 0, the class near 1.4
    share, own_share = (np.mean(np.array(part.column("level").to_pylist()) == "up") for part in (real, made))
    assert own_share == pytest.approx(share, abs=0.12)
    r, own_r = (np.corrcoef(part.column("a").to_numpy(), part.column("b").to_numpy())[0, 1] for part in (real, made))
    assert own_r == pytest.approx(r, abs=0.12)


def test_rows_are_new_and_those_of_one_draw_differ(fitted: Tilt) -> None:
    made = drawn(fitted, 500, **{"class": "rare"})
    real = set(map(str, rows(3000, 30, 0).table.to_pylist()))
    assert len(set(map(str, made.to_pylist()))) > 480
    assert sum(str(row) in real for row in made.to_pylist()) == 0


def test_a_class_of_many_rows_is_drawn_from_its_own(fitted: Tilt) -> None:
    assert fitted.scarce_ == ["rare"]
    made = drawn(fitted, 800, **{"class": "common"})
    own = rows(3000, 30, 0).table
    own = own.filter(pc.equal(own.column("class"), "common"))
    assert np.mean(made.column("a").to_numpy()) == pytest.approx(np.mean(own.column("a").to_numpy()), abs=0.15)


def test_a_condition_on_another_column_is_exact_beside_the_class(fitted: Tilt) -> None:
    made = drawn(fitted, 60, **{"class": "rare", "level": "down"})
    assert set(made.column("level").to_pylist()) == {"down"} and set(made.column("class").to_pylist()) == {"rare"}
    assert np.mean(made.column("a").to_numpy()) > 0.7


def test_no_class_is_scarce_where_none_has_few_rows_or_there_is_one() -> None:
    data = rows(400, 100, 2)
    plain = Tilt(most=10, **QUICK).fit(data, seed=0)
    assert plain.scarce_ == []
    assert drawn(plain, 20, **{"class": "rare"}).num_rows == 20
    alone = Dataset.from_arrow(data.table.drop(["class"]))
    assert Tilt(**QUICK).fit(alone, seed=0).scarce_ == []


def test_the_forest_of_numbers_says_what_the_library_says() -> None:
    data = rows(600, 60, 3)
    labels = data.labels()
    odds = Odds.fit(data, labels, 2, trees=15, leaf=3, penalty=30.0, rng=np.random.default_rng(0))
    state, arrays = odds.to_state()
    again = Odds.from_state(state, arrays)
    np.testing.assert_array_equal(again(data.table), odds(data.table))
    seed = int(np.random.default_rng(0).integers(2**31))
    model = RandomForestClassifier(15, min_samples_leaf=3, random_state=seed).fit(_as_learned(odds, data), labels)
    np.testing.assert_allclose(odds._shares(_as_learned(odds, data)), model.predict_proba(_as_learned(odds, data)), atol=1e-12)


def _as_learned(odds: Odds, data: Dataset) -> np.ndarray:
    from generators.tabular._tilt_odds import _normal

    return _normal(odds.geometry.transform(data), odds.scores)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"redrawn": 0.0}, "generator.redrawn"), ({"penalty": 0.0}, "generator.penalty"), ({"trees": 0}, "generator.trees")],
)
def test_settings_that_make_no_sense_are_one_sentence(settings: dict[str, float], said: str) -> None:
    with pytest.raises(GeneratorError, match=said):
        Tilt(**settings).fit(rows(60, 20, 0), seed=0)


def test_a_saved_model_holds_no_pickle(fitted: Tilt, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = Tilt.load(tmp_path)
    assert drawn(again, 40, **{"class": "rare"}).equals(drawn(fitted, 40, **{"class": "rare"}))
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".joblib")]
