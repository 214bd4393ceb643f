"""Are series that go on otherwise told from real ones, and does what helps a model show?"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.windows import batch, schema
from tests.validators.series_sets import changed, prepared, pumps
from validators._series_checks import SeriesUtilityCheck
from validators._series_fidelity import SeriesFidelityCheck
from validators.series import series_checks

Array = np.ndarray


@pytest.fixture(scope="module")
def sides() -> tuple[Dataset, Dataset, Dataset]:
    return pumps(1), pumps(2), pumps(3, times=2)


def shuffled(values: Array) -> Array:
    return values[:, :, np.random.default_rng(7).permutation(values.shape[2])]


def test_real_windows_of_other_pumps_look_real(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    found = SeriesFidelityCheck().evaluate(prepared(*sides))
    assert found.verdict == "PASS" and found.value is not None and found.value < 0.65
    made, real = found.details["synthetic"], found.details["real"]
    assert 0.9 < made["predictive"] < 1.1 and real["predictive"] == 1.0
    assert made["autocorrelation"] < 0.05 and made["spectrum"] < 0.2 and made["marginals"] < 0.15
    assert made["c2st_ci"][0] < made["c2st_auc"] < made["c2st_ci"][1]


def test_readings_in_random_order_keep_their_marginals_alone(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    train, holdout, drawn = sides
    given = prepared(train, holdout, changed(drawn, shuffled), limits={"fidelity": {"predictive": 1.2, "c2st_auc": 0.8}})
    found = SeriesFidelityCheck().evaluate(given)
    assert found.verdict == "BLOCK" and "above the plan's limit" in found.summary
    made, real = found.details["synthetic"], found.details["real"]
    assert made["c2st_auc"] > 0.95 and made["predictive"] > 1.3 and made["autocorrelation"] > 5 * real["autocorrelation"]
    assert made["marginals"] < 0.15 and made["spectrum"] > 0.4


def test_channels_that_no_longer_move_together_are_told(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    def alone(values: Array) -> Array:
        values[:, 0] = values[np.random.default_rng(8).permutation(len(values)), 0]
        return values

    train, holdout, drawn = sides
    found = SeriesFidelityCheck().evaluate(prepared(train, holdout, changed(drawn, alone))).details
    assert found["synthetic"]["cross_correlation"] > 4 * found["real"]["cross_correlation"]
    assert found["synthetic"]["marginals"] == pytest.approx(
        SeriesFidelityCheck().evaluate(prepared(*sides)).details["synthetic"]["marginals"], abs=0.02
    )


def test_limits_are_on_figures_that_series_have(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    with pytest.raises(DataError, match="unknown figure 'c2st'; did you mean 'c2st_auc'"):
        prepared(*sides, limits={"fidelity": {"c2st": 0.8}})


def test_few_windows_and_windows_of_no_class_leave_both_out(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    train, holdout, drawn = sides
    few = prepared(train, holdout.take(np.arange(0, 340, 30)), drawn)
    assert SeriesFidelityCheck().evaluate(few).verdict == "SKIPPED"
    told = SeriesUtilityCheck().evaluate(few)
    assert told.verdict == "SKIPPED" and "windows" in told.summary and "rows" not in told.summary
    rows = schema(("level",), period=1.0)
    plain = []
    for seed in range(3):
        values = np.random.default_rng(seed).standard_normal((60, 1, 40)).astype(np.float32)
        plain.append(Dataset(pa.Table.from_batches([batch(rows, values, np.full(60, 40))]), rows))
    given = prepared(*plain)
    assert SeriesUtilityCheck().evaluate(given).verdict == "SKIPPED"
    assert SeriesFidelityCheck().evaluate(given).verdict == "PASS"


def test_windows_with_the_classes_of_others_help_no_model(sides: tuple[Dataset, Dataset, Dataset]) -> None:
    train, holdout, drawn = sides
    place = drawn.table.schema.get_field_index("class")
    names = drawn.table.column("class").take(pa.array(np.random.default_rng(4).permutation(drawn.num_rows)))
    wrong = Dataset(drawn.table.set_column(place, "class", names), drawn.schema)
    good, bad = (SeriesUtilityCheck().evaluate(prepared(train, holdout, each)) for each in (drawn, wrong))
    assert good.value is not None and bad.value is not None and good.value > 0.97 > 0.8 > bad.value
    assert "windows" in good.summary and " rows" not in good.summary
    assert [check.name for check in series_checks(utility="full")][-2:] == ["fidelity", "utility"]
