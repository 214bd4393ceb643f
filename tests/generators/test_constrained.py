"""Does every row that any family draws behind a plan's rules hold all of them, whatever is asked?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.constraints import make as rule_of
from data.dataset import Dataset
from data.errors import UserError
from data.infer import infer
from generators.base import Generator, table
from generators.tabular._constrained import Constrained
from generators.tabular.autoregressive import Autoregressive
from generators.tabular.bootstrap import Bootstrap
from generators.tabular.smote import SMOTE
from tests.generators.test_contract import FAMILIES, make

LAND = {"Ulm": "DE", "Bern": "CH", "Graz": "AT", "Rom": "IT"}


def orders(n: int = 300, seed: int = 0) -> pa.Table:
    """Orders in which nearly all hold RULES: dates in order with gaps, sums, cities and their lands, one of three."""
    rng = np.random.default_rng(seed)
    start = np.datetime64("2020-01-01", "D") + rng.integers(0, 700, n)
    ship = start + rng.integers(0, 30, n)
    end = (ship + rng.integers(0, 20, n)).astype("datetime64[s]")
    city = rng.choice(list(LAND), n, p=[0.5, 0.3, 0.17, 0.03])
    net = np.round(rng.gamma(2, 20, n) + 0.01, 2)
    one = rng.integers(0, 3, n)
    label = np.where(rng.random(n) < 0.2, "rare", "common")
    kind = np.where(label == "rare", "x", rng.choice(["x", "y", "z"], n))
    return pa.table(
        {
            "id": [f"A{i:05d}" for i in range(n)],
            "start": pa.array(start, pa.date32(), mask=rng.random(n) < 0.1),
            "ship": pa.array(ship, pa.date32(), mask=rng.random(n) < 0.2),
            "end": end,
            "city": city,
            "land": [LAND[each] for each in city],
            "net": net,
            "gross": np.round(net + rng.gamma(1, 5, n), 2),
            "p": one == 0, "q": one == 1, "r": one == 2,
            "kind": kind,
            "label": label,
        }
    )  # fmt: skip


RULES: tuple[dict[str, Any], ...] = (
    {"use": "inequality", "columns": ["start", "ship", "end"]},
    {"use": "inequality", "columns": ["net", "gross"]},
    {"use": "functional_dependency", "columns": ["city"], "settle": "land"},
    {"use": "one_hot", "columns": ["p", "q", "r"]},
    {"use": "fixed_combinations", "columns": ["kind", "label"]},
    {"use": "expression", "holds": "gross - net < 12 or kind == 'x'"},
    {"use": "range", "column": "net", "low": 0, "strict": True},
    {"use": "unique", "columns": ["net", "city"]},
)


def kept(data: Dataset, rules: tuple[dict[str, Any], ...]) -> Dataset:
    """The rows that hold every rule."""
    keep = np.ones(data.num_rows, dtype=bool)
    for spec in rules:
        keep &= ~rule_of(spec).breaches(data.table)
    return data.take(np.flatnonzero(keep))


@pytest.fixture(scope="module")
def train() -> Dataset:
    return kept(Dataset.from_arrow(orders(), target="label"), RULES)


def breaches(rows: pa.Table, rules: tuple[dict[str, Any], ...], train: Dataset) -> dict[str, int]:
    """Rows that break each rule, of those that break any."""
    found = {}
    for spec in rules:
        rule = rule_of(spec).learn(train.table)
        broken = int((~rule.holds(rows)).sum()) + (int(rule.breaches(rows).sum()) if spec["use"] == "unique" else 0)
        found |= {str(rule): broken} if broken else {}
    return found


def drawn(model: Any, n: int, train: Dataset, **how: Any) -> pa.Table:
    return table(model.sample(n, **how), train.schema.arrow())


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_draws_rows_that_hold_every_rule(name: str, train: Dataset, tmp_path: Path) -> None:
    rules = RULES[:-1] if name == "bootstrap" else RULES  # real rows drawn again are not unique
    model = Constrained(make(name), rules).fit(train, seed=0)
    assert isinstance(model, Generator)
    rows = drawn(model, 200, train, seed=1)
    assert breaches(rows, rules, train) == {}
    assert rows.num_rows == 200 and len(pc.unique(rows.column("id"))) == 200
    for column in train.schema.learned:
        values = rows.column(column.name)
        assert column.nullable or not values.null_count, column.name
        if not column.discrete:
            real = pc.min_max(train.column(column.name)).as_py()
            assert real["min"] <= pc.min(values).as_py() and pc.max(values).as_py() <= real["max"]
    np.testing.assert_array_equal(rows.column("gross").to_numpy(), np.round(rows.column("gross").to_numpy(), 2))
    model.save(tmp_path)
    loaded = Constrained.load(tmp_path)
    assert loaded == model
    assert drawn(loaded, 60, train, seed=5).equals(drawn(model, 60, train, seed=5))
    assert not drawn(loaded, 60, train, seed=6).equals(drawn(model, 60, train, seed=5))


@pytest.fixture(scope="module")
def model(train: Dataset) -> Constrained:
    return Constrained(Autoregressive(epochs=6), RULES).fit(train, seed=0)


@pytest.mark.parametrize(
    "where",
    [
        {"label": "rare"},
        {"land": "IT"},
        {"land": "IT", "label": "common"},
        {"q": True, "label": "rare"},
        {"city": "Rom", "r": "true"},
        {"ship": None, "label": "rare"},
        {"start": "2020-05-05"},
        {"net": 20.5, "gross": 24.5},
        {"kind": "y"},
    ],
    ids=str,
)
def test_conditions_and_rules_hold_together(where: dict[str, Any], model: Constrained, train: Dataset) -> None:
    rules = RULES[:-1] if "net" in where else RULES
    if "net" in where:  # one sum in 40 rows leaves no more rows than there are cities
        model = Constrained(model.family, rules).fit(train, seed=0)
    rows = drawn(model, 40, train, where=where, seed=2)
    assert rows.num_rows == 40 and breaches(rows, rules, train) == {}
    for name, value in where.items():
        assert {str(each).lower() for each in rows.column(name).to_pylist()} == {str(value).lower()}


def test_a_rare_combination_is_asked_for_and_not_waited_for(model: Constrained) -> None:
    draw = model.one_draw()
    list(draw.sample(500, where={"land": "IT"}, seed=0))
    assert draw.tally.share > 0.5  # of all rows hardly one in thirty is of this land


def test_parts_of_one_draw_are_unique_together(model: Constrained, train: Dataset) -> None:
    draw = model.one_draw()
    parts = [drawn(draw, 150, train, where={"label": level}, seed=i) for i, level in enumerate(("rare", "common"))]
    assert breaches(pa.concat_tables(parts), RULES, train) == {}
    apart = [drawn(model, 150, train, seed=1) for _ in range(2)]
    assert breaches(pa.concat_tables(apart), RULES, train)  # two draws know nothing of each other


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"p": True, "q": True}, "no training row holds p=True, q=True, and the rules allow no other"),
        ({"city": "Rom", "land": "DE"}, "because of the rule city settles land"),
        ({"net": 50.0, "gross": 20.0}, "because of the rule net <= gross"),
        ({"kind": "y", "label": "rare"}, "because of the rule kind with label"),
    ],
    ids=str,
)
def test_a_condition_that_the_rules_exclude(where: dict[str, Any], said: str, model: Constrained) -> None:
    with pytest.raises(UserError) as caught:
        list(model.sample(3, where=where, seed=0))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hopeless_rule_is_named_with_its_figures(train: Dataset) -> None:
    once = ({"use": "unique", "columns": ["city"]},)
    with pytest.raises(UserError, match="training rows break the rule city is unique"):
        Constrained(Bootstrap(), once).fit(train, seed=0)
    few = kept(train, once)
    model = Constrained(Bootstrap(), once).fit(few, seed=0)
    assert drawn(model, few.num_rows, train, seed=0).num_rows == few.num_rows
    with pytest.raises(UserError) as caught:
        list(model.sample(few.num_rows + 1, seed=0))
    assert "city is unique" in str(caught.value) and "drawn before" in str(caught.value)
    odd = ({"use": "expression", "holds": "city != 'Bern' or kind != 'x'"}, RULES[4])
    mixed = Constrained(Autoregressive(epochs=1), odd).fit(kept(train, odd), seed=0)
    with pytest.raises(UserError) as caught:
        list(mixed.sample(10, where={"city": "Bern", "label": "rare"}, seed=0))
    assert "only 0 of 5" in str(caught.value) and "the rule " in str(caught.value)


def test_an_amount_that_is_made_can_be_asked_for_beside_what_it_is_made_from(model: Constrained, train: Dataset) -> None:
    gross = pc.max(train.column("gross")).as_py() - 0.01
    with pytest.raises(UserError, match="gross is made from net, so it can only be waited for; ask for both"):
        list(model.sample(20, where={"gross": gross}, seed=0))


def test_a_killed_fit_goes_on(train: Dataset, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class After:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            if done > 1:
                raise Stop

    def fresh() -> Constrained:
        return Constrained(Autoregressive(epochs=4, checkpoint_seconds=0.0), RULES)

    with pytest.raises(Stop):
        fresh().fit(train, seed=0, progress=After(), checkpoint=tmp_path)
    again = fresh().fit(train, seed=0, checkpoint=tmp_path)
    assert drawn(again, 50, train, seed=1).equals(drawn(fresh().fit(train, seed=0), 50, train, seed=1))


def test_scores_are_the_family_s_and_infinite_for_what_cannot_be(model: Constrained, train: Dataset) -> None:
    assert not hasattr(Constrained(SMOTE(), RULES), "score")
    broken = train.table.slice(0, 3)
    broken = broken.set_column(broken.schema.get_field_index("gross"), "gross", pa.array([0.0, 1e6, 0.0]))
    scores = model.score(Dataset(pa.concat_tables([train.table, broken]), train.schema))
    assert np.isfinite(scores[:-3]).all() and np.isinf(scores[[-3, -1]]).all()


# Laws over many tables: numbers of every sort, in any order of rows, with anything missing.
numbers = st.one_of(st.none(), st.integers(-40, 40))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(numbers, numbers, numbers), min_size=2, max_size=30),
    sort=st.sampled_from(["whole", "cents", "float", "float32", "days", "seconds", "mixed days", "zone"]),
    strict=st.booleans(),
    target=st.sampled_from([None, "a", "b", "c"]),
)
def test_an_order_survives_there_and_back(rows: list[tuple[Any, ...]], sort: str, strict: bool, target: str | None) -> None:
    spec = {"use": "inequality", "columns": ["a", "b", "c"], "strict": strict}
    columns = {name: _typed([row[i] for row in rows], sort, i) for i, name in enumerate("abc")}
    whole = Dataset.from_arrow(pa.table(columns | {"x": [i % 2 == 0 for i in range(len(rows))]}))
    stated = {name: {"kind": "datetime" if "day" in sort or sort in ("seconds", "zone") else "numeric"} for name in "abc"}
    data = kept(Dataset(whole.table, infer(whole.table, stated=stated, target=target)), (spec,))
    if data.num_rows < 2 or any(data.column(name).null_count == data.num_rows for name in "abc"):
        return
    model = Constrained(Bootstrap(), (spec,)).fit(data, seed=0)
    rows_again = drawn(model, 50, data, seed=1)
    assert breaches(rows_again, (spec,), data) == {}
    real = {tuple(row.values()) for row in data.table.to_pylist()}
    # Rows drawn again go through differences and back without a change.
    assert {tuple(row.values()) for row in rows_again.to_pylist()} <= real


def _typed(values: list[int | None], sort: str, i: int) -> pa.Array:
    if sort == "whole":
        return pa.array(values, [pa.int64(), pa.int16(), pa.float64()][i])
    if sort == "cents":
        return pa.array([None if v is None else v / 100 for v in values], pa.float64())
    if sort in ("float", "float32"):
        scaled = [None if v is None else np.float32(v / 8) for v in values]
        return pa.array(scaled, pa.float32()).cast(pa.float32() if sort == "float32" else pa.float64())
    if sort == "days":
        return pa.array(values, pa.int32()).cast(pa.date32())
    if sort == "seconds":
        return pa.array(values, pa.int64()).cast(pa.timestamp("s"))
    if sort == "zone":
        return pa.array(values, pa.int64()).cast(pa.timestamp("ns", tz="Europe/Berlin"))
    days = pa.array(values, pa.int32()).cast(pa.date32())
    return days if i == 1 else days.cast(pa.timestamp("ms" if i else "ns"))


CODE = {"use": "functional_dependency", "columns": ["city"], "settle": ["land"]}
OVERLAPPING: dict[str, tuple[dict[str, Any], ...]] = {
    "a circle of dependencies": (CODE, {"use": "functional_dependency", "columns": ["land"], "settle": "city"}),
    "a dependency of a dependency": (CODE, {"use": "functional_dependency", "columns": ["land"], "settle": "zone"}),
    "what settles is itself in a combination": (CODE, {"use": "fixed_combinations", "columns": ["city", "kind"]}),
    "combinations that share a column": (
        {"use": "fixed_combinations", "columns": ["city", "kind"]},
        {"use": "fixed_combinations", "columns": ["land", "kind"]},
    ),
    "two orders from one column": (
        {"use": "inequality", "columns": ["start", "ship"]},
        {"use": "inequality", "columns": ["start", "end"]},
        {"use": "inequality", "columns": ["ship", "end"]},
    ),
    "an order upwards and back": (
        {"use": "inequality", "columns": ["net", "gross"]},
        {"use": "expression", "holds": "gross <= net * 3 + 50"},
        {"use": "inequality", "columns": ["net", "most"]},
    ),
    "several columns settle a number": (
        {"use": "functional_dependency", "columns": ["city", "kind"], "settle": "fee"},
        {"use": "range", "column": "fee", "low": 0},
    ),
    "a number settles and lies in an order": (
        {"use": "functional_dependency", "columns": ["fee"], "settle": ["most"]},
        {"use": "inequality", "columns": ["fee", "most"]},
    ),
    "the target is settled": ({"use": "functional_dependency", "columns": ["code"], "settle": "label"},),
}


@pytest.mark.parametrize("family", [Bootstrap(), Autoregressive(epochs=2)], ids=["bootstrap", "autoregressive"])
@pytest.mark.parametrize("what", OVERLAPPING)
def test_rules_that_share_columns_hold_together(what: str, family: Any, tmp_path: Path) -> None:
    rules = OVERLAPPING[what]
    whole = orders(400)
    city, kind, label = (whole.column(name).to_pylist() for name in ("city", "kind", "label"))
    fee = [float(len(c) + "xyz".index(k)) for c, k in zip(city, kind, strict=True)]
    code = [f"{one[0]}{i % 3}" for i, one in enumerate(label)]
    zone = ["N" if c in ("Ulm", "Bern") else "S" for c in city]
    for name, values in {"zone": zone, "fee": fee, "most": [f + 100.0 for f in fee], "code": code}.items():
        whole = whole.append_column(name, pa.array(values))
    kinds: dict[str, Any] = {"fee": {"kind": "numeric"}, "most": {"kind": "numeric"}}
    data = kept(Dataset(whole, infer(whole, target="label", stated=kinds)), rules)
    assert data.num_rows > 100
    model = Constrained(family, rules).fit(data, seed=0)
    for where in (None, {"label": "rare"}, {"city": "Rom"}):
        rows = drawn(model, 80, data, where=where, seed=1)
        assert rows.num_rows == 80 and breaches(rows, rules, data) == {}
    model.save(tmp_path)
    assert drawn(Constrained.load(tmp_path), 30, data, seed=3).equals(drawn(model, 30, data, seed=3))
