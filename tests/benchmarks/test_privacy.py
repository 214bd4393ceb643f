"""Do the benchmarks of privacy count right, and do their pages say what their cells hold?"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opacus")

from benchmarks import privacy, privacy_audit
from benchmarks.privacy_audit import least_epsilon, p_value


def test_guesses_bound_epsilon_as_a_coin_that_is_loaded_by_it() -> None:
    """Without delta, all of 100 guesses right: the coin's q**100 is .05 at the bound."""
    assert p_value(200, 50, 50, 0.0, 0.0) == pytest.approx(2.0**-50)
    q = 0.05 ** (1 / 100)
    assert least_epsilon(200, 100, 100, 0.0, 0.05) == pytest.approx(math.log(q / (1 - q)), abs=2e-3)
    assert least_epsilon(200, 100, 55, 0.0, 0.05) == 0.0
    # Delta makes right guesses cheaper, more of it more so.
    assert 3.0 < least_epsilon(200, 100, 100, 1e-4, 0.05) < least_epsilon(200, 100, 100, 0.0, 0.05)
    values = [p_value(200, 100, 80, e, 1e-5) for e in (0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values) and values[-1] > 0.5


def test_the_page_of_audits(tmp_path: Path) -> None:
    cells = {"dp_autoregressive|3|0": {"bound": 0.4}, "not clipped|3|0": {"bound": 4.0}}
    text = "\n".join(
        privacy_audit.record(cells, argparse.Namespace(epsilon=[3.0], seeds=[0]), ["dp_autoregressive", "not clipped"])
    )
    assert "| dp_autoregressive | 3 | 1 | 0.40 | 0.40 |" in text and "| not clipped | 3 | 1 | 4.00 | 4.00 |" in text


def test_the_page_of_prices() -> None:
    def cell(auc: float) -> dict[str, Any]:
        figures = {"fit_s": 10.0, "auc": auc, "ap": 0.5, "recall": 0.4, "share": 0.2, "coverage": 0.9}
        attacks = {name: {"verdict": "PASS", "value": 0.5} for name in ("copies", *privacy.ATTACKS)}
        attacks["rare"] = {"verdict": "BLOCK", "value": 2.0}
        return figures | attacks | {f"real_{n}": 0.9 for n in ("auc", "ap", "recall", "share")}

    cells = {"adult|autoregressive|none|0": cell(0.9), "adult|dp_marginals|3|0": cell(0.8), "adult|dp_marginals|3|1": cell(0.7)}
    asked = argparse.Namespace(data=["adult"], families=["dp_marginals"], epsilon=["none", "3"], seeds=[0, 1])
    text = "\n".join(privacy.record(cells, asked))
    assert "| dp_marginals | 3 | 2 | 10 | 0.750 | 0.500 | 0.400 | 0.200 | 0.900 | 0.500 |" in text
    assert "| autoregressive | none | 1 | 10 | 0.900 |" in text and "2.000 BLOCK |" in text
    assert "| real rows | | | | 0.900 | 0.900 | 0.900 | 0.900 |" in text
