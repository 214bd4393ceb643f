"""Is a run that lies in a store the run that it would be on a disk, whichever machine works on it?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from data import blobs as module
from data import remote
from data.blobs import blobs
from data.errors import UserError
from data.history import PAGE
from data.turns import LostError, TakenError, take
from flows import away, kept
from flows.away import folder_of
from flows.cli import app
from flows.run import BusyError, Run, all_runs
from flows.walk import walk
from tests.conftest import ROOT
from tests.data.emulated import OTHERS, Emulated, environ_without, running

pytest.importorskip("moto.server")
pytest.importorskip("gcp_storage_emulator")
PASSING = ("-o", "generator.use=smote", "-o", "gate.alpha=1e-9")
#: As the chaos tests have it, with a fit of some seconds.
PLAN = """name: iris
seed: 5
data: {use: sklearn, set: iris}
target: target
split: {reference: 0, holdout: 0.3}
generator: {use: gan, epochs: 100, checkpoint_seconds: 0.05}
sample: {rows: 60}
gate: {draws: 5, detect: 1.0, utility: "off"}
publish: {root: published}
"""


@pytest.fixture(scope="module")
def s3() -> Iterator[Emulated]:
    with running("s3") as store:
        yield store


@pytest.fixture(scope="module")
def gs() -> Iterator[Emulated]:
    with running("gs") as store:
        yield store


def led(store: Emulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in store.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    away._client.cache_clear()
    away._LISTED.clear()
    return f"{store.bucket()}/runs"


@pytest.fixture
def runs(s3: Emulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh address for runs, of S3."""
    machine("A", tmp_path, monkeypatch)
    return led(s3, tmp_path, monkeypatch)


@pytest.fixture(params=["s3", "gs"])
def each(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, of S3 and of Google's store."""
    machine("A", tmp_path, monkeypatch)
    return led(request.getfixturevalue(request.param), tmp_path, monkeypatch)


def machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on this is another machine: its cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    away._LISTED.clear()


def called(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def run(plan: Path, runs: str, *more: str) -> Any:
    return called("run", str(plan), "--runs", runs, "--quiet", *PASSING, *more)


def published(root: Path) -> dict[str, bytes]:
    """All that lies there but locks and the page of the history, which tells times."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in (".lock", PAGE)]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def stages(runs: str) -> dict[str, Any]:
    return all_runs(folder_of(runs))[-1].stages


def test_another_machine_skips_every_stage_and_shows_what_there_is(
    each: str, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(plan_file, str(tmp_path / "here")).exit_code == 0
    local = published(tmp_path / "published")
    (tmp_path / "published").rename(tmp_path / "of_a_disk")
    done = run(plan_file, each)
    assert done.exit_code == 0, done.output
    assert f"kept in  {each}/mixed/" in done.output and str(tmp_path / "A") in done.output
    assert published(tmp_path / "published") == local
    first = stages(each)

    machine("B", tmp_path, monkeypatch)
    listed = called("runs", "--runs", each)
    assert "smote" in listed.output and "v000001" in listed.output
    assert not list((tmp_path / "B").rglob("*.parquet"))  # small files alone
    assert "mixed" in called("metrics", "--runs", each).output
    machine("C", tmp_path, monkeypatch)
    shown = called("report", "mixed", "--runs", each)
    assert shown.exit_code == 0 and f"kept in  {each}/mixed/" in shown.output
    machine("D", tmp_path, monkeypatch)
    drawn = called("sample", "mixed", "--rows", "3", "--runs", each)
    assert drawn.exit_code == 0 and len([line for line in drawn.stdout.splitlines() if line.count(",") > 5]) == 4
    machine("E", tmp_path, monkeypatch)
    assert run(plan_file, each).exit_code == 0
    assert stages(each) == first  # the seconds of each stage among them: none was done again
    assert sorted(p.name for p in (tmp_path / "published/mixed").glob("v*")) == ["v000001"]

    if each.startswith("gs"):  # what follows asks nothing new of a store
        return
    machine("F", tmp_path, monkeypatch)
    borrowed = run(plan_file, each, "-o", "gate.detect=0.9")
    assert borrowed.exit_code in (0, 4), borrowed.output
    assert stages(each)["fit"] == first["fit"]  # taken over from the other run, which was brought for it
    attempts = blobs(each).names(".attempts")
    assert len(attempts) == 1  # one draw, judged twice on two machines

    assert run(plan_file, each, "-o", "seed=4").exit_code == 0
    gone = called("prune", str(plan_file), "--keep", "1", "--runs", each)
    assert gone.exit_code == 0 and "and 2 runs" in gone.output, gone.output
    machine("G", tmp_path, monkeypatch)
    assert len(all_runs(folder_of(each))) == 1
    left = {name.split("/")[-2] if name.startswith(".") else name.split("/")[1] for name in blobs(each).names("mixed")}
    assert left == {all_runs(folder_of(each))[0].id}


def test_a_machine_that_is_killed_in_a_fit_costs_no_more_than_some_steps(
    runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("iris.yaml").write_text(PLAN)
    assert called("run", "iris.yaml", "--runs", "here", "--quiet").exit_code in (0, 3, 4)
    whole = published(tmp_path / "published")
    (tmp_path / "published").rename(tmp_path / "of_a_disk")
    monkeypatch.setenv("COUNTERPOISE_LEASE", "2")
    words = [sys.executable, "-m", "flows", "run", "iris.yaml", "--runs", runs, "--quiet"]
    environment = {**environ_without(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    store = blobs(runs)
    for _ in range(600):
        (there,) = {name.split("/")[2] for name in store.names(".state")} or {""}
        put = there and any(name.startswith("checkpoint/") for name in away.newest_state(store, f"iris/{there}")[0].files)
        if put or process.poll() is not None:
            break
        time.sleep(0.1)
    assert put and process.poll() is None, "no checkpoint was put away before the fit ended"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    machine("B", tmp_path, monkeypatch)
    busy = called("run", "iris.yaml", "--runs", runs, "--quiet")
    assert busy.exit_code == 2 and f"is being worked on by process {process.pid} on " in busy.output, busy.output
    time.sleep(2.2)
    done = called("run", "iris.yaml", "--runs", runs, "--quiet")
    assert done.exit_code in (0, 3, 4), done.output
    assert stages(runs)["fit"]["facts"]["resumed"] is True
    assert published(tmp_path / "published") == whole


def test_one_process_at_a_time_over_machines(
    each: str, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from configs.load import load
    from flows.stages.read import fingerprint

    plan = load(plan_file)
    one = Run.open(folder_of(each), plan, fingerprint(plan))
    with one.locked():
        machine("B", tmp_path, monkeypatch)
        two = Run.open(folder_of(each), plan, fingerprint(plan))
        assert two.folder != one.folder and two.id == one.id
        with pytest.raises(BusyError, match=rf"mixed/{one.id} is being worked on by process {os.getpid()} on .*; wait for it"):
            walk(two)
    with two.locked():
        pass
    machine("A", tmp_path, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        with one.locked():
            one.note("before", True)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
    with two.locked():  # at once
        assert two.stages["before"] is True


def test_who_was_away_for_longer_than_its_lease_puts_nothing_there(
    runs: str, plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from configs.load import load
    from flows.stages.read import fingerprint

    monkeypatch.setenv("COUNTERPOISE_LEASE", "1")
    monkeypatch.setattr(kept.Keeper, "renew", lambda self: None)  # as if it were paused
    plan = load(plan_file)
    one = Run.open(folder_of(runs), plan, fingerprint(plan))
    store = blobs(runs)
    with pytest.raises(LostError, match="was taken over by another process, as this one was not heard of for 1 s"):
        with one.locked():
            one.note("first", 1)
            time.sleep(2.5)  # S3 tells whole seconds
            machine("B", tmp_path, monkeypatch)
            two = Run.open(folder_of(runs), plan, fingerprint(plan))
            with two.locked():
                two.note("second", 2)
                with pytest.raises(LostError):
                    one.note("late", 3)
            one.note("later", 4)
    state, _ = away.newest_state(store, f"mixed/{one.id}")
    held = json.loads(state.files["stages.json"]["text"])
    assert (held["first"], held["second"]) == (1, 2) and not {"late", "later"} & set(held)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "A"))
    again = Run.open(folder_of(runs), plan, fingerprint(plan))
    assert again.folder == one.folder and "late" not in again.stages and again.stages["second"] == 2


def test_of_many_at_once_one_has_the_turn(each: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def wanted(_: int) -> Any:
        try:
            return take(blobs(each), ".turns/d/r", what="d/r", lease=60.0)
        except TakenError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(wanted, range(4)))
    (turn,) = [one for one in found if not isinstance(one, TakenError)]
    turn.renew()
    turn.end()
    assert wanted(0).number > turn.number


def test_a_store_that_goes_away_stops_the_run_and_the_same_command_goes_on(
    plan_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.stages import STEPS, sample

    monkeypatch.setattr(module, "ATTEMPTS", 2)
    monkeypatch.setattr(module, "PAUSE", 0.01)
    machine("A", tmp_path, monkeypatch)
    with running("s3") as store:
        runs = led(store, tmp_path, monkeypatch)
        whole = sample.STEP.work

        def gone(*arguments: Any) -> Any:
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
            away._client.cache_clear()
            for keeper in kept._KEEPERS.values():
                keeper.store = blobs(runs)
                keeper.turn.blobs = keeper.store
            return whole(*arguments)

        with monkeypatch.context() as patch:
            patch.setitem(STEPS, "sample", replace(sample.STEP, work=gone))
            done = run(plan_file, runs)
        assert done.exit_code == 2 and f"cannot keep runs in {runs}: the service cannot be reached" in done.output
        assert not (tmp_path / "published").exists()
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        away._client.cache_clear()
        done = run(plan_file, runs)  # the same machine: its own turn, which it did not end, is no other's
        assert done.exit_code == 0, done.output
        assert "sample" in stages(runs) and len(list((tmp_path / "published/mixed").glob("v*"))) == 1


def test_what_cannot_lie_in_a_store_is_refused(runs: str, plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_file.write_text(
        plan_file.read_text()
        .replace("sample: {mix: balanced}\n", "")
        .replace("generator: {use: bootstrap}", "purpose: release\ngenerator: {use: dp_autoregressive}")
        + "privacy: {epsilon: 3, bounds: budget, source: people, cap: 10}\n"
    )
    done = called("run", str(plan_file), "--runs", runs)
    assert done.exit_code == 2 and f"--runs {runs}: a release's run holds real rows" in done.output, done.output
    monkeypatch.setenv("COUNTERPOISE_LEASE", "soon")
    plan_file.write_text(plan_file.read_text().split("purpose")[0] + "generator: {use: smote}\n")
    done = called("run", str(plan_file), "--runs", runs)
    assert done.exit_code == 2 and "COUNTERPOISE_LEASE='soon' is no number of seconds from 1 to 86400" in done.output
    monkeypatch.setattr(remote, "PATIENCE", 1)
    assert folder_of("s3://lake/x") != folder_of("s3://lake/y") and folder_of("runs") == Path("runs")
    with pytest.raises(UserError, match="spells out a secret"):
        folder_of("s3://key:hunter2@lake/x")


def test_nights_of_every_machine_know_the_address(runs: str, plan_file: Path) -> None:
    from flows.schedule import Night, deployment

    assert deployment(plan_file, Night("0 3 * * *", "UTC", (), folder_of(runs), 10)).parameters["runs"] == runs


def test_what_is_damaged_or_leads_out_of_a_run_is_not_taken(
    runs: str, plan_file: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    assert run(plan_file, runs).exit_code == 0
    store = blobs(runs)
    report = next(name for name in store.names("mixed") if name.endswith("/report.html"))
    store.write(report, b"<html>another</html>")
    machine("B", tmp_path, monkeypatch)
    done = called("report", "mixed", "--runs", runs)
    assert done.exit_code == 2 and f"{report} is damaged: its sha256 is not the run's" in done.output
    name = next(iter(store.names(".state")))
    state = json.loads(store.read(name) or b"")
    state["files"]["../../out.txt"] = state["files"]["plan.yaml"]
    store.write(name, json.dumps(state).encode())
    machine("C", tmp_path, monkeypatch)
    done = called("report", "mixed", "--runs", runs)
    assert done.exit_code == 2 and "holds '../../out.txt', which lies outside of it" in done.output
    assert not list(tmp_path.rglob("out.txt"))
