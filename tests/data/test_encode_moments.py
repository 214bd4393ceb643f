"""Do drawn moments keep the weekdays, hours and gaps of train, in any type, and come back from their tokens?"""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.encode_tokens import MomentTokens, NumberTokens, Tokens
from data.infer import infer
from data.schema import Column
from generators.base import GeneratorError, table
from generators.tabular.autoregressive import Autoregressive

KINDS = [
    pa.timestamp("s"),
    pa.timestamp("ms"),
    pa.timestamp("us", tz="Europe/Berlin"),
    pa.timestamp("ns"),
    pa.date32(),
    pa.date64(),
]


def office(n: int, seed: int = 0) -> np.ndarray:
    """Seconds since 1970: Monday to Friday, 8 to 18 o'clock, three years across 1970."""
    rng = np.random.default_rng(seed)
    day = rng.integers(-500, 600, 3 * n)
    day = day[(day + 3) % 7 < 5][:n]
    return np.asarray(day * 86_400 + rng.integers(8 * 3600, 18 * 3600, n))


def column(seconds: np.ndarray, kind: pa.DataType, missing: np.ndarray | None = None) -> pa.Array:
    values = pa.array(seconds, pa.timestamp("s"), mask=missing)
    return values.cast(kind, safe=False) if pa.types.is_timestamp(kind) else values.cast(pa.date32()).cast(kind)


def fitted(values: pa.Array) -> MomentTokens:
    return MomentTokens.fit(values, Column(name="at", kind="datetime", dtype=str(values.type), nullable=values.null_count > 0))


def parts_of(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Weekday and hour of each moment that is not null."""
    seconds = values.drop_null().cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
    return (seconds // 86_400 + 3) % 7, seconds % 86_400 // 3600


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tokens_come_back_as_moments_of_the_same_day_nearly_the_same_time(kind: pa.DataType) -> None:
    seconds = office(3000)
    values = column(seconds, kind, missing=np.arange(3000) % 10 == 0)
    tokens = fitted(values)
    encoded = tokens.encode(values)
    assert (encoded >= 0).all() and (encoded < np.array(tokens.sizes)).all()
    back = tokens.decode(encoded, np.random.default_rng(0))
    assert back.type == values.type
    assert back.is_null().equals(values.is_null())
    assert np.array_equal(parts_of(back)[0], parts_of(values)[0])
    gap = np.abs(
        back.drop_null().cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
        - values.drop_null().cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
    )
    # 1,100 days in 64 bins: three weeks or so in each, and each week a token of its own.
    assert np.median(gap) < 600 and gap.max() < 86_400
    again = MomentTokens.from_state(json.loads(json.dumps(tokens.to_state())))
    assert again.decode(encoded, np.random.default_rng(0)).equals(back)


def test_days_far_apart_keep_their_weekday_and_their_range() -> None:
    """Births over eighty years: a bin is months long, so days are new ones; all lie between the first and the last."""
    rng = np.random.default_rng(1)
    days = rng.integers(-9_000, 20_000, 2000)
    days = days[(days + 3) % 7 < 6]
    values = pa.array(days.astype(np.int32), pa.int32()).cast(pa.date32())
    tokens = fitted(values)
    drawn = tokens.decode(tokens.encode(values), rng)
    made = drawn.cast(pa.int32()).to_numpy()
    assert made.min() >= days.min() and made.max() <= days.max()
    assert ((made + 3) % 7 == (days + 3) % 7).mean() > 0.99
    assert not set(made) <= set(days)
    assert np.abs(made - days).max() <= 29_000 / 64 * 3


@pytest.mark.parametrize(
    "seconds",
    [np.zeros(50, dtype=np.int64), np.array([0, 86_400] * 10), np.array([5]), np.repeat([86_400 * 40_000, 7], 30)],
    ids=["one moment", "two days", "one row", "far apart"],
)
def test_few_moments_come_back_exactly(seconds: np.ndarray) -> None:
    values = pa.array(seconds, pa.timestamp("s"))
    tokens = fitted(values)
    assert tokens.decode(tokens.encode(values), np.random.default_rng(0)).equals(values)


def test_what_was_never_seen_is_told() -> None:
    values = pa.array(office(500), pa.timestamp("s"))
    tokens = fitted(values)
    late = pa.array([dt.datetime(2999, 1, 1), None], pa.timestamp("s"))
    assert tokens.outside(late).tolist() == [True, False]
    assert tokens.encode(late)[1, 0] == -1
    with pytest.raises(KeyError):
        tokens.given(None)
    with pytest.raises(KeyError):
        tokens.given(float(tokens.scale.high + 1))


def test_only_a_calendar_makes_days_of_times() -> None:
    rows = pa.table({"at": pa.array(office(300), pa.timestamp("s")), "none": pa.array([None] * 300, pa.timestamp("s"))})
    train = Dataset(rows, infer(rows))
    assert isinstance(Tokens.fit(train)["at"], NumberTokens)
    tokens = Tokens.fit(train, calendar=True)
    assert isinstance(tokens["at"], MomentTokens)
    again = Tokens.from_state(json.loads(json.dumps(tokens.to_state())))
    assert np.array_equal(again.encode(train), tokens.encode(train))


def test_what_depends_on_weekday_and_hour_is_learned() -> None:
    """A sum is large on Mondays, a level is told by the hour; no drawn row falls on a weekend or at night."""
    seconds = office(4000)
    weekday, hour = (seconds // 86_400 + 3) % 7, seconds % 86_400 // 3600
    rng = np.random.default_rng(2)
    rows = pa.table(
        {
            "at": pa.array(seconds, pa.timestamp("s")),
            "sum": np.where(weekday == 0, 500.0, 100.0) + rng.normal(0, 20, len(seconds)),
            "shift": np.where(hour < 13, "early", "late"),
        }
    )
    train = Dataset(rows, infer(rows))
    family = Autoregressive(device="cpu").fit(train, seed=0)
    drawn = table(family.sample(4000, seed=1), train.schema.arrow())
    made, clock = parts_of(drawn.column("at").combine_chunks())
    assert (made < 5).all() and (clock >= 8).all() and (clock < 18).all()
    total = np.asarray(drawn.column("sum").to_numpy())
    assert total[made == 0].mean() > 450 and total[made != 0].mean() < 130
    early = np.asarray(drawn.column("shift").to_numpy()) == "early"
    assert (early == (clock < 13)).mean() > 0.95
    moment = rows.column("at")[17].as_py()
    asked = table(family.sample(200, where={"at": moment}, seed=2), train.schema.arrow())
    assert set(asked.column("at").to_pylist()) == {moment}
    assert (np.asarray(asked.column("sum").to_numpy()).mean() > 300) == (moment.weekday() == 0)
    saturday = moment + dt.timedelta(days=5 - moment.weekday())
    for when, said in ((dt.datetime(2999, 1, 1), "its values lie between"), (saturday, "lies on a Saturday, which")):
        with pytest.raises(GeneratorError, match=f"where.at: no training row .*{said}"):
            list(family.sample(5, where={"at": when}, seed=0))
