"""Is every fit written down, and can nobody spend what is gone?"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import ledger
from flows.ledger import LedgerError, account, reserve, settle


def spend(path: Path, **how: Any) -> ledger.Account:
    given = {"source": "people", "sha256": "a", "run": "r1", "fit": "f1", "epsilon": 3.0, "delta": 1e-6, "cap": 7.0}
    return reserve(path, **{**given, **how})


def test_what_is_spent_adds_up_under_the_name_and_under_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "in" / "ledger.sqlite"
    assert account(path, "people", "a").epsilon == 0
    assert spend(path).epsilon == 3
    settle(path, run="r1", fit="f1")
    assert spend(path, run="r2", sha256="b").epsilon == 6  # the same name, new rows
    assert account(path, "others", "a").epsilon == 3 and account(path, "others", "z").epsilon == 0
    assert account(path, "people", "z").delta == pytest.approx(2e-6)
    assert [e.state for e in account(path, "people", "a").entries] == ["spent", "reserved"]


def test_a_run_that_would_pass_the_cap_does_not_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    spend(path)
    spend(path, run="r2", epsilon=4.0)  # exactly the cap
    with pytest.raises(
        LedgerError, match=r"epsilon 0 is spent, 7 is reserved by runs that did not end \(r1, r2\) and 0 of 7 is left.*lower"
    ) as error:
        spend(path, run="r3", epsilon=0.1)
    assert error.value.exit_code == 2 and len(account(path, "people", "a").entries) == 2
    assert spend(path, run="r3", epsilon=50.0, cap=None).epsilon == 57


def test_a_killed_fit_is_charged_once_and_a_second_fit_anew(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    spend(path)
    assert spend(path).epsilon == 3  # the same fit, begun again
    settle(path, run="r1", fit="f1")
    assert spend(path).epsilon == 6  # its model was there: this is another look at the rows


def test_two_runs_cannot_both_take_what_is_left(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = (
        "import sys; from pathlib import Path; from flows.ledger import *\n"
        "asked = dict(source='s', sha256='a', fit='f', epsilon=2.0, delta=1e-6, cap=5.0)\n"
        f"try: reserve(Path({str(path)!r}), run=sys.argv[1], **asked)\n"
        "except LedgerError: sys.exit(2)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(i)]) for i in range(6)]
    assert sorted(p.wait() for p in runs) == [0, 0, 2, 2, 2, 2]
    assert account(path, "s", "a").epsilon == 4


def test_a_ledger_that_is_locked_or_no_ledger_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "PATIENCE", 0.2)
    path = tmp_path / "ledger.sqlite"
    spend(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerError, match="has been in use") as error:
        spend(path, run="r2")
    other.execute("ROLLBACK")
    other.close()
    (tmp_path / "text").write_text("no database at all, but long enough to be taken for one by its size. " * 20)
    with pytest.raises(LedgerError, match="no privacy ledger, or it is damaged") as second:
        spend(tmp_path / "text")
    with pytest.raises(LedgerError, match="cannot be opened") as third:
        spend(tmp_path)
    assert all("\n" not in str(e.value) for e in (error, second, third))
    assert len(account(path, "people", "a").entries) == 1


def test_a_damaged_page_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for i in range(300):
        spend(path, run=f"r{i}", cap=None)
    held = bytearray(path.read_bytes())
    held[4096:8192] = b"\xff" * 4096
    path.write_bytes(bytes(held))
    with pytest.raises(LedgerError, match="damaged"):
        spend(path, run="last", cap=None)
