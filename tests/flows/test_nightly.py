"""Does a night do nothing for an unchanged source, publish a changed one with what moved, and tell of what was blocked?"""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.plan import NotifySpec
from data.errors import UserError
from flows.amount import NothingToAddError
from flows.notify import check_notify, notify
from flows.stages.moved import sentences
from tests.conftest import ROOT
from tests.flows.test_synthesize import server
from tests.postgres import postgres_server

__all__ = ["server"]
OVERRIDES = ["generator.use=smote", "gate.alpha=1e-9"]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its address as Apprise spells it, and what it was told."""
    told: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - http.server's name
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"json://127.0.0.1:{running.server_port}/tok3n", told
    running.shutdown()


# --- nights -------------------------------------------------------------------------------------------------------------------


def night(plan: Path, *overrides: str) -> Any:
    from flows.nightly import nightly

    return nightly(str(plan), [*OVERRIDES, *overrides], str(plan.parent / "runs"), return_state=True)


@pytest.mark.usefixtures("server")
def test_a_night_does_nothing_or_publishes_or_tells(
    plan_file: Path, hook: tuple[str, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    address, told = hook
    monkeypatch.setenv("TOLD", address)
    plan_file.write_text(plan_file.read_text() + "notify: {addresses: TOLD, on: [blocked, failed, published]}\n")
    first, again = night(plan_file), night(plan_file)
    assert first.name == "Published" and again.name == "Unchanged"
    assert again.message == "mixed: unchanged since version v000001; nothing was trained"
    # Who started it reads a line of each night.
    assert "UTC  mixed: unchanged since version v000001; nothing was trained\n" in capfd.readouterr().err
    # New rows, one column of which moved: a new version, and what moved is told.
    table = pd.read_csv(plan_file.parent / "mixed.csv")
    number = table.select_dtypes("number").columns[0]
    more = table.assign(**{number: table[number] + 3 * table[number].std()})
    pd.concat([table, more], ignore_index=True).to_csv(plan_file.parent / "mixed.csv", index=False)
    assert night(plan_file).name == "Published"
    assert [each["title"] for each in told] == ["counterpoise: mixed published"] * 2
    assert f"Since v000001: {len(table):,} real rows to {2 * len(table):,}" in told[1]["message"]
    assert f"Columns of the source that drifted: {number} (median" in told[1]["message"]
    # Copies are blocked: LATEST stays, and the worst is named.
    latest = (plan_file.parent / "published/mixed/LATEST").read_text()
    blocked = night(plan_file, "generator.use=bootstrap", "gate.alpha=0.01")
    assert blocked.is_failed() and blocked.name == "Blocked"
    assert (plan_file.parent / "published/mixed/LATEST").read_text() == latest
    assert told[-1]["title"] == "counterpoise: mixed blocked" and "BLOCK, " in told[-1]["message"]
    assert [each["type"] for each in told] == ["success", "success", "warning"]
    assert "copies" in told[-1]["message"] or "rows" in told[-1]["message"]
    # What the user must mend is told as well.
    (plan_file.parent / "mixed.csv").unlink()
    with pytest.raises(UserError):
        night(plan_file).result()
    assert told[-1]["title"] == "counterpoise: mixed failed" and "mixed.csv" in told[-1]["message"]
    assert "tok3n" not in json.dumps([each["message"] for each in told])


@pytest.mark.usefixtures("server")
def test_a_sweep_that_finds_that_rows_bring_nothing_is_no_fault(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any, **__: Any) -> Any:
        raise NothingToAddError("add nothing")

    seen: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("flows.nightly.walked", nothing)
    monkeypatch.setattr("flows.nightly.emit_event", lambda event, **given: seen.append((event, given)))
    state = night(plan_file)
    assert state.name == "Blocked" and state.message == "mixed: add nothing"
    assert [(event, given["payload"]["says"]) for event, given in seen] == [("counterpoise.blocked", "add nothing")]
    assert seen[0][1]["resource"]["prefect.resource.id"] == "counterpoise.dataset.mixed"


# --- who is told --------------------------------------------------------------------------------------------------------------


def test_addresses_are_asked_for_before_the_night_and_never_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hook: tuple[str, list[dict[str, Any]]]
) -> None:
    spec = NotifySpec(addresses="TOLD", blocks=["slack-webhook/none"])
    monkeypatch.delenv("TOLD", raising=False)
    with pytest.raises(UserError, match="notify.addresses: the environment variable TOLD is not set"):
        check_notify(spec)
    monkeypatch.setenv("TOLD", "nonsense:s3cret")
    with pytest.raises(UserError, match="address 1 of TOLD is none that Apprise knows") as refused:
        check_notify(spec)
    address, told = hook
    monkeypatch.setenv("TOLD", f"{address} json://127.0.0.1:1/s3cret")
    lost = notify(spec.model_copy(update={"blocks": []}), "blocked", "a", "b")
    assert lost == ["address 2 of TOLD could not be told"] and [each["message"] for each in told] == ["b"]
    assert notify(spec, "published", "a", "b") == [] and len(told) == 1
    assert "s3cret" not in str(refused.value) + caplog.text


@pytest.mark.usefixtures("server")
def test_a_block_of_the_server_is_told_and_one_that_is_not_there_is_said(hook: tuple[str, list[dict[str, Any]]]) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    address, told = hook
    CustomWebhookNotificationBlock(
        name="h",
        url=address.replace("json", "http", 1),
        method="POST",
        json_data={"subject": "{{subject}}", "said": "{{body}}"},
    ).save("here", overwrite=True)
    spec = NotifySpec(blocks=["custom-webhook/here", "slack-webhook/none"])
    lost = notify(spec, "failed", "a", "b")
    assert lost == ["block slack-webhook/none could not be told (ValueError)"] and told == [{"subject": "a", "said": "b"}]


# --- what moved ---------------------------------------------------------------------------------------------------------------


def test_what_moved_is_told_in_sentences() -> None:
    found = {
        "version": "v000004", "rows": [100, 150], "came": ["shoe"], "went": [], "classes": {"no": [90, 140], "yes": [10, 10]},
        "compared": 2,
        "drift": [{"column": "age", "distance": 0.21, "p": 1e-9, "says": "median 30 to 41"}], "families": ["gan", "gan"],
        "figures": {"coverage": ["PASS", 0.9, "WARN", 0.7]},
    }  # fmt: skip
    assert sentences(found) == [
        "Since v000004: 100 real rows to 150",
        "New columns: shoe",
        "Rows of classes: no 90 to 140",
        "Columns of the source that drifted: age (median 30 to 41; distance 0.21)",
        "Figures of the gate that moved: coverage PASS 0.9 to WARN 0.7",
    ]
    assert sentences({}) == []
    assert "No column of the source drifted" in sentences({**found, "drift": []})
    assert not [each for each in sentences({**found, "drift": [], "compared": 0}) if "drifted" in each]


def test_columns_of_one_law_seldom_drift() -> None:
    from data.dataset import Dataset
    from flows.stages.moved import _drift

    rng, told = np.random.default_rng(0), 0
    for _ in range(60):
        sides = [
            Dataset.from_pandas(pd.DataFrame({"x": rng.normal(size=800), "y": rng.choice(["a", "b", "c"], 800)})) for _ in "01"
        ]
        told += bool(_drift(*sides, sides[1].schema.learned))
    assert told <= 3


# --- schedules ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cron", "often"], "--cron 'often' is no schedule; write minute, hour"),
        (["--timezone", "Mars/Base"], "--timezone 'Mars/Base' is none that is known"),
        (["-o", "notify.addresses=NOT_SET_ANYWHERE"], "the environment variable NOT_SET_ANYWHERE is not set"),
        (["-o", "generator.use=gam"], "did you mean"),
    ],
)
def test_a_schedule_that_cannot_be_kept_is_one_sentence(plan_file: Path, words: list[str], said: str) -> None:
    from typer.testing import CliRunner

    from flows.cli import app

    answer = CliRunner().invoke(app, ["serve", str(plan_file), *words])
    assert answer.exit_code == 2 and said in " ".join(answer.output.split())
    answer = CliRunner().invoke(app, ["serve", str(plan_file), str(plan_file)])
    assert answer.exit_code == 2 and "two plans are named 'mixed'" in " ".join(answer.output.split())


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_schedule_fires(plan_file: Path, kind: str) -> None:
    """A night begins by itself, on a server with each database."""
    if kind == "sqlite":
        fires(plan_file, {})
        return
    with postgres_server() as url:
        fires(plan_file, {"PREFECT_API_DATABASE_CONNECTION_URL": url.replace("postgresql:", "postgresql+asyncpg:")})


def fires(plan_file: Path, settings: dict[str, str]) -> None:
    folder = plan_file.parent
    command = [sys.executable, "-m", "flows", "serve", str(plan_file), "--runs", str(folder / "runs"), "--cron", "* * * * *"]
    command += [word for each in OVERRIDES for word in ("-o", each)]
    environment = {**os.environ, "PREFECT_HOME": str(folder / "prefect"), **settings}
    environment.pop("PREFECT_API_URL", None)
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        for _ in range(3600):
            if process.poll() is not None or (folder / "published/mixed/LATEST").is_file():
                break
            time.sleep(0.1)
        assert process.poll() is None and (folder / "published/mixed/LATEST").is_file(), "no night in time"
    finally:
        os.killpg(process.pid, signal.SIGINT)
        said = "".join(process.communicate(timeout=90))
    assert process.returncode in (0, 130), said
    assert "schedule * * * * * (" in said
    assert "Traceback" not in said
