"""Does the walk do each stage once, keep what is unchanged, and give the same bytes again?"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from configs.load import load
from data.errors import DataError, UserError
from flows.run import Run, all_runs, digest
from flows.stages import STEPS
from flows.stages.read import fingerprint
from flows.tell import Quiet
from flows.walk import walk
from tests.conftest import ROOT

TINY_GAN = ("generator.use=gan", "generator.epochs=2", "generator.min_steps=5", "gate.alpha=1e-9")


class Ear(Quiet):
    """Remembers how each stage ended."""

    def __init__(self) -> None:
        self.heard: dict[str, str] = {}

    def end(self, stage: str, how: str, facts: object, seconds: float) -> None:
        self.heard[stage] = how


def start(plan_file: Path, *overrides: str) -> Run:
    plan = load(plan_file, overrides)
    return Run.open(plan_file.parent / "runs", plan, fingerprint(plan))


def hear(run: Run) -> dict[str, str]:
    ear = Ear()
    walk(run, ear)
    return ear.heard


def parquet_bytes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("data/*.parquet"))}


def test_the_walk_writes_what_the_house_promises(plan_file: Path) -> None:
    run = start(plan_file)
    facts = walk(run)
    for made in ("plan.yaml", "profile.json", "choice.json", "model", "report.json", "report.html", "decision.json", "run.log"):
        assert (run.folder / made).exists(), made
    assert list((run.folder / "samples").glob("*.parquet"))
    report = json.loads((run.folder / "report.json").read_text())
    assert report["verdict"] == facts["judge"]["verdict"] in ("PASS", "WARN", "BLOCK", "INCONCLUSIVE")
    assert report["lineage"]["data_sha256"] == facts["read"]["data_sha256"]
    assert not (run.folder / "checkpoint").exists()


def test_balanced_rows_reach_the_dataset(plan_file: Path) -> None:
    facts = walk(start(plan_file, "generator.use=smote", "gate.alpha=1e-9"))
    assert facts["sample"]["rows"] == {"common": 0, "rare": 160}
    table = pq.read_table(Path(facts["publish"]["uri"]) / "data")
    labels = table.to_pandas().groupby(["label", "is_synthetic"]).size().to_dict()
    assert labels == {("common", False): 200, ("rare", False): 40, ("rare", True): 160}
    assert table.column("key").to_pylist().__len__() == len(set(table.column("key").to_pylist()))


def test_unchanged_stages_are_skipped_and_changed_ones_are_not(plan_file: Path) -> None:
    run = start(plan_file)
    assert set(hear(run).values()) == {"done"}
    assert set(hear(start(plan_file)).values()) == {"skipped"}
    again = hear(start(plan_file, "gate.detect=0.9"))
    assert again["fit"] == again["sample"] == "borrowed"
    assert again["judge"] == "done"
    reseeded = hear(start(plan_file, "seed=4"))
    assert (reseeded["read"], reseeded["split"], reseeded["fit"]) == ("borrowed", "done", "done")


def test_changed_data_run_again(plan_file: Path) -> None:
    first = start(plan_file)
    walk(first)
    csv = plan_file.parent / "mixed.csv"
    csv.write_text("\n".join(csv.read_text().splitlines()[:-3]) + "\n")
    second = start(plan_file)
    assert second.id != first.id
    assert hear(second)["read"] == "done"


def test_one_seed_gives_one_dataset(plan_file: Path) -> None:
    first = walk(start(plan_file, *TINY_GAN))
    again = walk(start(plan_file, *TINY_GAN).renewed())
    other = walk(start(plan_file, *TINY_GAN, "seed=5"))
    one, two, three = (parquet_bytes(Path(facts["publish"]["uri"])) for facts in (first, again, other))
    assert one and one == two
    assert one != three


def test_a_run_is_worked_on_by_one_process(plan_file: Path) -> None:
    run = start(plan_file)
    with run.locked(), pytest.raises(UserError, match="is being worked on by process"), Run(run.folder).locked():
        pass


def test_attempts_are_counted_by_draw_not_by_judgement(plan_file: Path) -> None:
    attempts = []
    for overrides in ((), ("gate.detect=0.9",), ("generator.use=smote",)):
        run = start(plan_file, *overrides)
        walk(run)
        attempts.append(json.loads((run.folder / "report.json").read_text())["attempt"])
    assert attempts == [1, 1, 2]


def test_attempts_go_with_the_holdout_rows_not_with_the_plan(plan_file: Path) -> None:
    attempts = []
    for overrides in (
        (),
        ("name=other", "generator.use=smote"),
        ("columns={visits: {low: 0}}", "generator={use: smote, k_neighbors: 2}"),  # another split by its key, the same rows
        ("seed=9",),
        ("name=other", "generator.use=smote", "gate.alpha=0.02"),
    ):
        run = start(plan_file, *overrides)
        walk(run)
        attempts.append(json.loads((run.folder / "report.json").read_text())["attempt"])
    assert attempts == [1, 2, 3, 1, 2]


def test_runs_are_found_by_name_id_and_folder(plan_file: Path) -> None:
    run = start(plan_file)
    runs = plan_file.parent / "runs"
    assert Run.find("mixed", runs) == Run.find(run.id, runs) == Run.find(str(run.folder), runs) == run
    assert all_runs(runs) == [run]
    with pytest.raises(UserError, match="no run 'nothing'"):
        Run.find("nothing", runs)


def test_a_missing_file_is_told_before_anything_is_written(plan_file: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        start(plan_file, "data.path=nowhere.csv")
    assert not (plan_file.parent / "runs").exists()


def test_keys_keep_their_parts_apart() -> None:
    assert digest("a", "bc") != digest("ab", "c")


def test_a_killed_fit_goes_on_from_its_checkpoint(plan_file: Path) -> None:
    """kill -9 in the middle of fit, then the same command: it resumes, and ends as an uninterrupted run would."""
    settings = [
        "generator.use=gan",
        "generator.epochs=120",
        "generator.min_steps=1",
        "generator.checkpoint_seconds=0",
        "gate.alpha=1e-9",
    ]
    undisturbed = start(plan_file, *settings, "publish.dataset=whole").renewed()
    whole = walk(undisturbed)
    command = [sys.executable, "-m", "flows", "run", str(plan_file), "--runs", str(plan_file.parent / "other")]
    command += [part for setting in settings for part in ("-o", setting)] + ["-q"]
    process = subprocess.Popen(command, cwd=ROOT)
    checkpoint = None
    for _ in range(1200):
        found = list((plan_file.parent / "other").glob("mixed/*/checkpoint/*"))
        if found:
            checkpoint = found[0].parent
            break
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -9, "the fit ended before it could be killed"
    assert checkpoint is not None
    assert not (checkpoint.parent / "model").exists()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, 3, 4), done.stderr
    log = (checkpoint.parent / "run.log").read_text()
    assert "read skipped" in log and "fit done" in log and "'resumed': True" in log
    assert (checkpoint.parent / "training.json").read_bytes() == (undisturbed.folder / "training.json").read_bytes()
    published = json.loads((checkpoint.parent / "published.json").read_text())
    assert parquet_bytes(Path(published["uri"])) == parquet_bytes(Path(whole["publish"]["uri"]))


def test_every_stage_has_a_key_and_outputs() -> None:
    assert list(STEPS) == ["read", "profile", "choose", "split", "fit", "sample", "judge", "publish"]
    assert all(step.stage.outputs for step in STEPS.values())
