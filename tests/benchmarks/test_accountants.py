"""Does the comparison of accountants say what both told?"""

from __future__ import annotations

from benchmarks.accountants import CASES, agree, record
from generators.tabular._dp_account import spent


def test_the_page_holds_both_figures_and_their_ratio() -> None:
    ours, theirs = [1.01] * len(CASES), [1.0] * len(CASES)
    text = "\n".join(record(ours, theirs, {"dp-accounting": "0.6.0"}))
    assert "| (1, 0.01, 1000) | 1e-05 | 1.0100 | 1.0000 | 1.0100 |" in text and "dp-accounting 0.6.0" in text
    assert "(8, 1, 3) and (11, 1, 1) and " in text and "They differ by 1.00% at most" in text


def test_a_share_of_one_in_a_hundred_is_the_limit() -> None:
    assert agree(3.02, 3.0) and agree(2.98, 3.0) and not agree(3.04, 3.0) and not agree(2.96, 3.0)


def test_cases_are_some_that_a_fit_has() -> None:
    assert any(len(case.parts) > 2 and case.parts[-1].rate < 1 for case in CASES)
    assert all(0 < spent(case.parts, case.delta) < 60 for case in CASES if all(part.rate >= 1 for part in case.parts))
