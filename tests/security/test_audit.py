"""Does the audit of pinned versions fail for what it must, and never pass for want of an answer?"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
from typing import Any

import pytest

from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci/audit.py")
assert spec and spec.loader
audit: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(audit)

TODAY = dt.date(2026, 12, 1)
BAD = {"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-2"], "fix_versions": ["3.1.6"]}]}
GOOD = {"name": "rich", "version": "15", "vulns": []}


def entry(until: str, id: str = "PYSEC-1") -> dict[str, str]:
    return {"id": id, "package": "jinja2", "until": until, "why": "templates are our own"}


@pytest.mark.parametrize(
    ("found", "allowed", "code", "says"),
    [
        ([GOOD], [], 0, "audited: 1 packages"),
        ([GOOD, BAD], [], 1, "jinja2 3.1.2: PYSEC-1, mended in 3.1.6; raise it"),
        ([BAD], [entry("2026-12-01")], 0, "no vulnerability but 1"),
        ([BAD], [entry("2026-12-31", "CVE-2")], 0, "no vulnerability but 1"),
        ([BAD], [entry("2026-11-30")], 1, "was allowed until 2026-11-30"),
        ([{"name": "rich", "skip_reason": "not found"}], [], 0, "not audited"),
        ([], [entry("2026-11-30")], 1, "; look"),
    ],
)
def test_outcomes(found: list[Any], allowed: list[dict[str, str]], code: int, says: str) -> None:
    answered, lines = audit.outcome({"dependencies": found}, allowed, TODAY)
    assert answered == code and says in " ".join(lines)


def test_no_answer_is_not_taken_for_a_good_one() -> None:
    code, lines = audit.outcome(None, [], TODAY)
    assert code == 0 and lines[0].startswith("not audited: the database of vulnerabilities could not be asked")


def test_every_entry_of_the_list_has_an_end_within_half_a_year() -> None:
    for each in json.loads((ROOT / ".ci/audit-allowed.json").read_text()):
        assert set(each) == {"id", "package", "until", "why"}
        assert dt.date.fromisoformat(each["until"]) <= dt.date.today() + dt.timedelta(days=183)
