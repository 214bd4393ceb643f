"""Does the page say how the family was chosen, whatever stands in choice.json?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from validators.fidelity import c2st, told_apart
from validators.report.choice import section

RUBRIC = {
    "left": [{"family": "flow", "reason": "normalising flow"}, {"family": "<gan>", "reason": "GAN"}],
    "out": [
        {"family": "smote", "question": 3, "reason": "it is a reference"},
        {"family": "image.gan", "question": 1, "reason": "x"},
    ],
}


def trial(family: str, rung: int, **figures: Any) -> dict[str, Any]:
    return {"family": family, "rung": rung, "rows": 100 * (rung + 1), **figures}


def bakeoff(lead: str) -> dict[str, Any]:
    figures = {"utility": 0.03, "coverage": 0.9, "auc": 0.6, "cost": 12.0, "fit_seconds": 11.0, "seconds_per_1000": 0.2}
    return {
        "lead": lead,
        "budget_minutes": 10,
        "reference_rows": 300,
        "scarce": ["rare"],
        "trials": [
            trial("flow", 0, **figures),
            trial("<gan>", 0, failed="stopped after 9 s, its share of the time"),
            trial("flow", 1, **figures),
            trial("vae", 1, **(figures | {"auc": 0.4, "utility": 0.01, "cost": 1.0})),
        ],
        "turns": 5,
        "standings": [
            trial("flow", 1, turns=5, **figures),
            trial("vae", 1, turns=2, **(figures | {"auc": 0.4, "utility": 0.04, "coverage": 0.95, "cost": 1.0})),
        ],
        "front": ["flow", "vae"],
        "margin": {"figure": lead, "value": 0.02, "low": -0.01, "high": 0.05, "of": "flow", "over": "vae"},
    }


@pytest.mark.parametrize("lead", ["utility", "coverage", "fidelity"])
def test_trials_become_a_chart_and_a_table(lead: str) -> None:
    view = section({"family": "flow", "reason": "it was best", "rubric": RUBRIC, "bakeoff": bakeoff(lead)})
    assert view is not None
    tried = view["tried"]
    assert tried["chart"].count("<circle") == 2 and "flow" in tried["chart"]
    # Means of the last rung, best first, then what was tried before.
    first = ["flow", "vae"] if lead == "fidelity" else ["vae", "flow"]
    assert [row["family"] for row in tried["rows"]] == [*first, "flow", "<gan>"]
    assert [row["front"] for row in tried["rows"]] == [True, True, False, False] and tried["turns"] == "5"
    assert {row["family"]: row["turns"] for row in tried["rows"][:2]} == {"flow": "5", "vae": "2"}
    assert tried["rows"][3]["failed"].startswith("Stopped after 9 s")
    assert "<gan>" not in tried["chart"] and [name for name, *_ in view["out"]] == ["smote"]


def test_a_sweep_becomes_a_chart_beside_a_named_family_too() -> None:
    trials = [
        {"method": "tilt", "level": 1.0, "both": True, "gain": 0.05, "error": 0.02},
        {"method": "<smote>", "level": 0.3, "both": False, "gain": -0.01, "error": None},
        {"method": "nothing", "level": 0.0, "both": False, "gain": 0.0, "error": 0.0},
    ]
    told = {"says": "tilt: 90 rows of rare", "trials": trials, "failed": {"gan": "it broke"}}
    view = section({"family": "tilt", "reason": "x", "sweep": told})
    assert view is not None and view["left"] == [] and view["tried"] is None
    chart = view["swept"]["chart"]
    assert chart.count("<circle") == 3 and "tilt to 100 %, the largest too" in chart and "<smote>" not in chart
    assert view["swept"]["failed"] == [("gan", "It broke")] or view["swept"]["failed"][0][0] == "gan"
    assert section({"family": "f", "reason": "x", "sweep": {"trials": [{"gain": "?"}]}}) is None


def test_a_named_family_needs_no_section_and_the_five_questions_no_chart() -> None:
    assert section(None) is None and section({"family": "gan", "reason": "the plan names it"}) is None
    view = section({"family": "flow", "reason": "best", "rubric": RUBRIC})
    assert view is not None and view["tried"] is None and view["said"] == "flow: best."
    foretold = section({"family": "flow", "reason": "best", "rubric": RUBRIC, "bakeoff": {"rungs": []}})
    assert foretold is not None and foretold["tried"] is None


def test_each_real_row_has_its_part_of_the_auc() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(300, 3)), rng.normal(0.7, 1.0, size=(300, 3))
    each = told_apart(real, made, seed=0)
    assert each.shape == (300,) and each.mean() == pytest.approx(c2st(real, made, seed=0)[0], abs=1e-9)
