"""Do tables drawn together refer to one another as real ones do, and do children follow their parents?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from data.dataset import Dataset
from data.relations import ForeignKey, Relations, Tables, depths, faults
from generators.base import GeneratorError
from generators.tabular._relational_learn import capped, positions, waves
from generators.tabular._relational_match import Pool, levelled, refer, without_repeats
from generators.tabular.autoregressive import Autoregressive
from generators.tabular.bootstrap import Bootstrap
from generators.tabular.relational import Relational
from tests.generators.related import shop

QUICK = Autoregressive(device="cpu")


@pytest.fixture(scope="module")
def train() -> Tables:
    return shop()


@pytest.fixture(scope="module")
def model(train: Tables) -> Relational:
    return Relational(QUICK).fit(train, seed=0)


@pytest.fixture(scope="module")
def made(model: Relational) -> dict[str, pa.Table]:
    return model.draw(seed=1)


def as_tables(made: dict[str, pa.Table], like: Tables) -> Tables:
    return Tables({name: Dataset(rows, like[name].schema) for name, rows in made.items()}, like.relations)


def test_keys_hold_and_are_new(made: dict[str, pa.Table], train: Tables) -> None:
    assert list(faults(as_tables(made, train))) == []
    for name in ("region", "customer", "order", "product", "staff"):
        key = train.relations.primary[name][0]
        assert not pc.any(pc.is_in(made[name].column(key), value_set=train[name].column(key).combine_chunks())).as_py()


def test_types_are_those_of_train(made: dict[str, pa.Table], train: Tables) -> None:
    for name, rows in made.items():
        assert rows.schema == train[name].schema.arrow()


def test_links_do_not_repeat_and_lines_are_numbered(made: dict[str, pa.Table]) -> None:
    assert not made["product_tag"].to_pandas().duplicated().any()
    lines = made["line"].to_pandas()
    assert (
        lines.sort_values(["order_id", "nr"]).groupby("order_id").nr.apply(list).map(lambda n: n == [*range(1, len(n) + 1)])
    ).all()


def test_who_reports_to_whom_has_no_circle(made: dict[str, pa.Table], train: Tables) -> None:
    key = train.relations.of("staff")[0]
    depth = depths(as_tables(made, train).places(key))
    assert (depth >= 0).all() and depth.max() >= 2
    staff = made["staff"].to_pandas()
    clerks = staff[(staff.grade == "clerk") & staff.boss_id.notna()]
    # Nine in ten of train's report to a lead or the head.
    assert (staff.set_index("id").grade.reindex(clerks.boss_id) != "clerk").mean() > 0.6


def test_nulls_come_as_often_as_in_train(made: dict[str, pa.Table]) -> None:
    assert made["order"].column("seller_id").null_count / made["order"].num_rows == pytest.approx(0.2, abs=0.05)
    assert made["customer"].column("region_id").null_count == 0


def test_children_per_parent_are_distributed_as_in_train(made: dict[str, pa.Table], train: Tables) -> None:
    drawn = as_tables(made, train)
    for key in train.relations.foreign:
        if key.to_itself or train[key.parent].num_rows < 50:
            continue
        real, fake = (np.bincount(t.places(key)[t.places(key) >= 0], minlength=t[key.parent].num_rows) for t in (train, drawn))
        size = max(real.max(), fake.max()) + 1
        share = [np.cumsum(np.bincount(c, minlength=size) / len(c)) for c in (real, fake)]
        # The limit of Kolmogorov and Smirnov for two samples of so many parents, at one in a hundred thousand.
        assert np.abs(share[0] - share[1]).max() < 2.4 * np.sqrt(2 / train[key.parent].num_rows), key.name
    assert drawn["order"].num_rows == pytest.approx(train["order"].num_rows, rel=0.1)
    childless = [
        (~t["customer"].column("id").to_pandas().isin(t["order"].column("customer_id").to_pandas())).mean()
        for t in (train, drawn)
    ]
    assert childless[0] == pytest.approx(childless[1], abs=0.08)


def joined(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    orders = tables["order"].merge(
        tables["customer"].merge(tables["region"], left_on="region_id", right_on="id", suffixes=("_c", "")),
        left_on="customer_id",
        right_on="id_c",
        suffixes=("", "_r"),
    )
    lines = tables["line"].merge(orders, left_on="order_id", right_on="id", suffixes=("", "_o"))
    return lines.merge(tables["product"], left_on="product_code", right_on="code", suffixes=("", "_p"))


def test_columns_follow_parents_and_grandparents(made: dict[str, pa.Table], train: Tables) -> None:
    real, fake = (joined({n: t[n].table.to_pandas() for n in t.parts}) for t in (train, as_tables(made, train)))
    gap = [rows[rows.loyal].premium.mean() - rows[~rows.loyal].premium.mean() for rows in (real, fake)]
    assert gap[0] > 0.5 and gap[1] > 0.6 * gap[0]
    mild = [
        rows[rows.climate_r == "mild"].income.mean() / rows[rows.climate_r != "mild"].income.mean() for rows in (real, fake)
    ]
    assert mild[0] > 2 and mild[1] > 1.6
    assert (fake.price == fake.price_p).all() and (fake.climate == fake.climate_r).all()
    pieces = [rows[rows.premium].pieces.mean() / rows[~rows.premium].pieces.mean() for rows in (real, fake)]
    assert pieces[0] < 0.5 and pieces[1] < 0.6


def test_siblings_are_alike(made: dict[str, pa.Table], train: Tables) -> None:
    alike = []
    for rows in (train["order"].table, made["order"]):
        frame = rows.to_pandas().sort_values(["customer_id", "day"])
        same = frame.customer_id.eq(frame.customer_id.shift())
        alike.append(frame.channel.eq(frame.channel.shift())[same].mean())
    assert alike[0] > 0.8 and alike[1] > 0.7


def test_the_same_seed_gives_the_same_tables_and_another_others(model: Relational, made: dict[str, pa.Table]) -> None:
    again, other = model.draw(seed=1), model.draw(seed=2)
    assert all(again[name].equals(made[name]) for name in made)
    assert not other["order"].equals(made["order"])


def test_loading_what_was_saved_draws_the_same(model: Relational, made: dict[str, pa.Table], tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = Relational.load(tmp_path)
    assert all(rows.equals(made[name]) for name, rows in loaded.draw(seed=1).items())
    with pytest.raises(GeneratorError, match="holds rows of"):
        Relational.load(tmp_path, Bootstrap)


def test_scale_multiplies_the_rows(model: Relational, train: Tables) -> None:
    drawn = model.draw(3.0, seed=4)
    assert drawn["region"].num_rows == 3 * train["region"].num_rows
    assert drawn["line"].num_rows == pytest.approx(3 * train["line"].num_rows, rel=0.2)
    assert list(faults(as_tables(drawn, train))) == []
    small = model.draw(0.05, seed=4)
    assert list(faults(as_tables(small, train))) == []
    with pytest.raises(GeneratorError, match="scale"):
        model.draw(0.0, seed=0)


def test_any_family_draws_the_rows(train: Tables, tmp_path: Path) -> None:
    family = Relational(Bootstrap()).fit(train, seed=0)
    made = family.draw(seed=1)
    assert list(faults(as_tables(made, train))) == []
    real, fake = (joined({n: t[n].table.to_pandas() for n in t.parts}) for t in (train, as_tables(made, train)))
    gap = [rows[rows.loyal].premium.mean() - rows[~rows.loyal].premium.mean() for rows in (real, fake)]
    assert gap[1] > 0.4 * gap[0]
    family.save(tmp_path)
    assert Relational.load(tmp_path, Bootstrap).draw(seed=1)["line"].equals(made["line"])


class Killed(Exception):
    pass


@dataclass
class KillAt:
    """A progress that ends the process, so to speak, when a table is done."""

    tables: int

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        if what == "table" and done == self.tables:
            raise Killed


def test_a_killed_fit_takes_finished_tables_and_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    small, quick = shop(60), Autoregressive(width=16, min_steps=40, device="cpu")
    whole = Relational(quick).fit(small, seed=0).draw(seed=1)
    with pytest.raises(Killed):
        Relational(quick).fit(small, seed=0, progress=KillAt(3), checkpoint=tmp_path)
    told: list[str] = []

    class Told:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            told.append(what)

    again = Relational(quick).fit(small, seed=0, progress=Told(), checkpoint=tmp_path)
    assert "epoch of region" not in told and "epoch of line" in told
    assert again.draw(seed=1)["line"].equals(whole["line"])


def circles(own: list[int | None]) -> Tables:
    rows = len(own)
    table = pa.table({"id": pa.array(range(rows)), "other": pa.array(own, pa.int64()), "x": pa.array(np.arange(rows) % 5)})
    return Tables.from_arrow({"a": table}, Relations({"a": ("id",)}, (ForeignKey("a", "other", "a", "id"),)))


@pytest.mark.parametrize(
    "own",
    [list(range(60)), [(i + 1) % 60 for i in range(60)], [None] * 60, [None, *range(59)]],
    ids=["loops", "circle", "none", "chain"],
)
def test_awkward_references_to_itself(own: list[int | None]) -> None:
    data = circles(own)
    drawn = Relational(Bootstrap()).fit(data, seed=0).draw(seed=0)["a"]
    made = as_tables({"a": drawn}, data)
    assert list(faults(made)) == []
    places = made.places(data.relations.foreign[0])
    if own[0] == 0:
        np.testing.assert_array_equal(places, np.arange(60))
    if own == [None] * 60:
        assert (places == -1).all()
    if own[:2] == [None, 0]:
        assert (depths(places) >= 0).all() and (places >= 0).mean() > 0.8


def test_awkward_sets_of_tables() -> None:
    ids = pa.array(range(40))
    bare = pa.table({"id": ids})
    keys = Relations(
        {"a": ("id",), "b": ("id",), "c": ("a_id",)}, (ForeignKey("b", "a_id", "a", "id"), ForeignKey("c", "a_id", "a", "id"))
    )
    tables = {
        "a": bare,
        "b": pa.table({"id": ids, "a_id": pa.array([None] * 40, pa.int64())}),
        "c": pa.table({"a_id": pa.array(range(0, 40, 2)), "x": pa.array([1.5] * 20)}),
    }
    data = Tables.from_arrow(tables, keys)
    made = Relational(QUICK).fit(data, seed=0).draw(seed=0)
    assert list(faults(as_tables(made, data))) == []
    assert made["b"].column("a_id").null_count == made["b"].num_rows == 40
    assert set(made["c"].column("x").to_pylist()) == {1.5} and made["c"].num_rows == pytest.approx(20, abs=10)


def flights() -> Tables:
    """Two keys to one parent, a primary key that is a foreign key and is referred to, keys of text, numbered seats."""
    rng = np.random.default_rng(0)
    known = np.sort(rng.choice(300, 200, replace=False))
    start, end = ([f"A{i:03d}" for i in rng.integers(60, size=1500)] for _ in range(2))
    tables = {
        "airport": pa.table({"code": [f"A{i:03d}" for i in range(60)], "big": rng.random(60) < 0.3}),
        "pilot": pa.table({"id": np.arange(300), "age": rng.integers(20, 60, 300)}),
        "profile": pa.table({"pilot_id": known, "rank": rng.choice(["a", "b"], 200)}),
        "badge": pa.table({"profile_id": np.repeat(known, 2), "colour": rng.choice(["x", "y", "z"], 400)}),
        "flight": pa.table({"nr": np.arange(1500), "start": start, "end": end,
                            "pilot_id": pa.array(rng.integers(300, size=1500), mask=rng.random(1500) < 0.3)}),
        "seat": pa.table({"flight_nr": np.repeat(np.arange(1500), 2), "row": np.tile([1, 2], 1500)}),
    }  # fmt: skip
    primary = {"airport": ("code",), "pilot": ("id",), "profile": ("pilot_id",), "badge": (), "flight": ("nr",)}
    keys = (
        ForeignKey("profile", "pilot_id", "pilot", "id"), ForeignKey("badge", "profile_id", "profile", "pilot_id"),
        ForeignKey("flight", "start", "airport", "code"), ForeignKey("flight", "end", "airport", "code"),
        ForeignKey("flight", "pilot_id", "pilot", "id"), ForeignKey("seat", "flight_nr", "flight", "nr"),
    )  # fmt: skip
    return Tables.from_arrow(tables, Relations({**primary, "seat": ("flight_nr", "row")}, keys))


def test_keys_of_every_shape_hold_at_every_scale() -> None:
    train = flights()
    model = Relational(Bootstrap()).fit(train, seed=0)
    for scale in (0.02, 1.0, 3.0):
        drawn = model.draw(scale, seed=1)
        assert list(faults(as_tables(drawn, train))) == []
        assert drawn["badge"].num_rows == 2 * drawn["profile"].num_rows and drawn["pilot"].num_rows == round(300 * scale)
        assert set(drawn["seat"].column("row").to_pylist()) == {1, 2}
    assert drawn["flight"].column("pilot_id").null_count / drawn["flight"].num_rows == pytest.approx(0.3, abs=0.03)


def test_a_table_that_cannot_be_learned_is_named() -> None:
    table = pa.table({"id": pa.array(range(30)), "x": pa.array(np.where(np.arange(30) == 3, np.inf, 1.5))})
    with pytest.raises(Exception, match="'x' holds 1 infinite"):
        Relational(QUICK).fit(Tables.from_arrow({"a": table}, Relations({"a": ("id",)})), seed=0)


def test_parents_are_taken_as_often_as_they_should_be() -> None:
    kinds, number = np.array([0, 0, 1, 1]), np.array([3, 0, 2, 1])
    pool = Pool(kinds, number, 6, np.random.default_rng(0))
    taken = pool.take(np.array([0, 0, 0, 1, 1, 1, -1]))
    np.testing.assert_array_equal(np.bincount(taken[:-1], minlength=4), number)
    assert taken[-1] == -1 and pool.take(np.array([7]))[0] in (0, 2, 3)


def test_repeats_find_another_parent_or_go() -> None:
    rng = np.random.default_rng(0)
    pool = Pool(np.array([0, 0, 1]), np.array([2, 1, 1]), 4, rng)
    owner, other = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 0, 0])
    kept = without_repeats([owner, other], [None, pool], [None, np.zeros(5, dtype=np.int64)])
    assert kept.sum() == 4 and sorted(other[kept & (owner == 0)].tolist()) == [0, 1, 2]


def test_references_go_one_depth_up() -> None:
    depth = np.array([0, 1, 1, 2, 2, 2])
    kinds = depth.copy()
    to = refer(
        depth, np.maximum(depth - 1, 0), kinds, np.array([2, 3, 0, 0, 0, 0]), nullable=True, rng=np.random.default_rng(0)
    )
    np.testing.assert_array_equal(to, [-1, 0, 0, 1, 1, 1])


def test_levelled_counts_keep_their_mean_and_their_noughts() -> None:
    number = np.array([0, 0, 9, 5, 1, 1])
    out = levelled(number, 2.0, 10, np.random.default_rng(0))
    assert out.sum() == 12 and (out[:2] == 0).all() and (out[2:] >= 1).all()
    assert levelled(number, 4.0, 10, np.random.default_rng(0)).sum() == 24
    assert levelled(np.zeros(3, dtype=np.int64), 2.0, 10, np.random.default_rng(0)).sum() == 6
    assert levelled(np.array([0, 1, 1]), 0.2, 1, np.random.default_rng(0)).tolist() == [0, 1, 1]


def test_positions_and_waves_reach_every_row_once() -> None:
    owner = np.r_[np.repeat([0, 1, 2], [1, 200, 3]), [-1, -1]]
    place = positions(owner)
    assert place.max() == 199 and (place[-2:] == 0).all() and capped(place).max() == 12
    seen = np.zeros(len(owner), dtype=int)
    for rows, back in waves(place):
        assert (seen[rows - back] == 1).all() if back else (place[rows] == 0).all()
        seen[rows] += 1
    assert (seen == 1).all()
