"""Is every line that a run writes to stderr one JSON object, where that is asked for, and is no secret in it?"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from flows import logs, tell
from flows.pipes import note, say
from tests.conftest import ROOT

PUBLISHED = ("-o", "generator.use=smote", "-o", "gate.alpha=1e-9", "-o", "gate.utility=off")


def called(*words: str, cwd: Path, code: int, **environment: str) -> list[dict[str, Any]]:
    """What a real command wrote to stderr, each line of which must be an object."""
    held = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(cwd / "prefect"), logs.LOGS: "json", **environment}
    ended = subprocess.run([sys.executable, "-m", "flows", *words], cwd=cwd, env=held, capture_output=True, text=True)
    assert ended.returncode == code, (ended.stdout, ended.stderr)
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert all(isinstance(line, dict) and line["time"].endswith("+00:00") and line["event"] for line in lines)
    return lines


def test_a_run_that_publishes_is_told_line_by_line_whatever_the_engine(plan_file: Path) -> None:
    lines = called("run", str(plan_file), *PUBLISHED, cwd=plan_file.parent, code=0)
    run = next((plan_file.parent / "runs/mixed").iterdir())
    assert {line["run"] for line in lines} == {f"mixed/{run.name}"}
    ended = {line["stage"]: line for line in lines if line["event"] == "done"}
    assert list(ended) == ["read", "profile", "choose", "split", "fit", "sample", "judge", "publish"]
    assert list(ended) == [line["stage"] for line in lines if line["event"] == "begins"]
    assert ended["read"]["facts"]["rows"] == 240 and ended["read"]["says"] == "240 rows, 7 columns"
    assert ended["publish"]["facts"]["version"] == "v000001" and ended["fit"]["seconds"] >= 0
    assert len((run / "run.log").read_text().splitlines()) == 16
    words = ("--logs", "json", "run", str(plan_file), "--engine", "prefect", *PUBLISHED)
    first, *again = called(*words, cwd=plan_file.parent, code=0, COUNTERPOISE_LOGS="")
    assert first["event"] == "note" and f"flow synthesize, run mixed/{run.name}, told to" in first["says"]
    assert [line["event"] for line in again] == ["begins", "skipped"] * 8


def test_what_is_blocked_refused_or_misspelt_is_a_line_with_its_exit_code(plan_file: Path) -> None:
    blocked = called("run", str(plan_file), "-o", "gate.utility=off", cwd=plan_file.parent, code=3)
    judged = next(line for line in blocked if line["event"] == "done" and line["stage"] == "judge")
    assert judged["level"] == "warning" and judged["facts"]["verdict"] == "BLOCK" and judged["says"] == "BLOCK"
    table = plan_file.parent / "mixed.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:3]))
    (said,) = (line for line in called("run", str(plan_file), cwd=plan_file.parent, code=2) if line["event"] == "refused")
    assert (
        said["level"] == "error" and said["exit"] == 2 and said["stage"] and said["run"].startswith("mixed/") and said["says"]
    )
    (said,) = called("run", str(plan_file), "-o", "seeed=1", cwd=plan_file.parent, code=2)
    assert said["event"] == "refused" and "did you mean 'seed'" in said["says"]
    (said,) = called("rum", cwd=plan_file.parent, code=2)
    assert said["event"] == "refused" and said["says"] == "there is no verb 'rum'; did you mean 'run'?"


def test_a_form_that_is_none_is_refused(tmp_path: Path) -> None:
    held = {**os.environ, logs.LOGS: "xml", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-m", "flows", "runs"], cwd=tmp_path, env=held, capture_output=True, text=True)
    assert ended.returncode == 2 and "'json'" in ended.stderr and ended.stderr.count("\n") == 1


def test_a_credential_is_in_no_line(plan_file: Path) -> None:
    plan = plan_file.read_text()
    source = "data: {use: sql, url: 'postgresql+pg8000://me:${DB_PASSWORD}@127.0.0.1:9/shop', query: SELECT 1}\n"
    plan_file.write_text("".join(source if line.startswith("data:") else line for line in plan.splitlines(keepends=True)))
    lines = called("run", str(plan_file), cwd=plan_file.parent, code=2, DB_PASSWORD="hunter22")  # noqa: S106
    assert lines[-1]["event"] == "refused" and "hunter22" not in json.dumps(lines)


def wrapped(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What lies under a stderr that is wrapped from now on."""
    under = io.StringIO()
    monkeypatch.setenv(logs.LOGS, "text")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "stderr", under)
    monkeypatch.setattr(logs, "_AT_WORK", {})
    monkeypatch.setattr(logs, "_INSTEAD", {})
    logs.ask("json")
    return under


def read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_a_library_writes_is_a_note_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wrapped(monkeypatch)
    print("connecting to s3://me:hunter22@host/x\rand\nso on", file=sys.stderr)
    print('{"event": "of its own"}', file=sys.stderr)
    print("[1, 2]", file=sys.stderr)
    warnings.warn("pwd of x://u:hunter22@h", RuntimeWarning, stacklevel=1)
    said = read(asked)
    assert [line.get("says") for line in said[:4]] == ["connecting to s3://me:***@host/x", "and", "so on", None]
    assert (
        said[4]["says"] == "[1, 2]"
        and said[5]["level"] == "warning"
        and "RuntimeWarning: pwd of x://u:***@h" in said[5]["says"]
    )
    assert "hunter22" not in asked.getvalue()


def test_figures_that_json_has_no_word_for_are_null_and_words_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wrapped(monkeypatch)
    logs.instead("alias", of="0123456789")
    logs.about(run="mixed/0123456789", stage="fit")
    say("runs/mixed/0123456789 is busy", "refused", level="error", exit=2, figures={"loss": float("nan"), "of 0123456789": 1.5})
    logs.about(run=None, stage=None)
    note("so it is")
    first, second = read(asked)
    assert first["run"] == "mixed/alias" and first["says"] == "runs/mixed/alias is busy" and first["stage"] == "fit"
    assert first["figures"] == {"loss": None, "of alias": 1.5}
    assert set(second) == {"time", "level", "event", "says"}


def test_long_work_tells_its_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = wrapped(monkeypatch)
    monkeypatch.setattr(tell, "EVERY", 0.0)
    with pytest.raises(RuntimeError), tell.console(quiet=False) as teller:
        progress = teller.begin("fit")
        progress.advance(10, 800, "step", loss=0.5)
        raise RuntimeError
    say("no more", "failed", level="error", exit=1)
    begins, progressed, failed = read(asked)
    assert begins["event"] == "begins" and progressed["figures"] == {"step": 10, "total": 800, "loss": 0.5}
    assert progressed["says"] == "step 10 of 800, loss 0.5" and progressed["stage"] == failed["stage"] == "fit"
