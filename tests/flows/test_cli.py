"""Does the command line answer with the right code, and faults with one sentence and nothing half-written?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from configs.load import load
from flows.cli import app
from tests.conftest import ROOT, mixed_table

RUNNER = CliRunner()


def cli(*arguments: object) -> Result:
    return RUNNER.invoke(app, [str(a) for a in arguments])


def refused(result: Result, *said: str) -> None:
    """Exit 2, one sentence on stderr, no traceback."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    sentence = result.stderr.strip().splitlines()[-1]
    assert sentence.startswith("counterpoise: ")
    assert "Traceback" not in result.output and "Error(" not in sentence
    for words in said:
        assert words in sentence, sentence


def run(plan_file: Path, *more: object) -> Result:
    return cli("run", plan_file, "--runs", plan_file.parent / "runs", *more)


def with_csv(plan_file: Path, text: str | bytes) -> None:
    (plan_file.parent / "mixed.csv").write_bytes(text if isinstance(text, bytes) else text.encode())


def rows_of(frame: pd.DataFrame) -> str:
    return frame.to_csv(index=False)


def test_a_run_ends_with_verdict_report_and_dataset(plan_file: Path, tmp_path: Path) -> None:
    done = run(
        plan_file,
        "-o",
        "generator.use=smote",
        "-o",
        "gate.alpha=1e-9",
        "--json",
        tmp_path / "r.json",
        "--html",
        tmp_path / "r.html",
    )
    assert done.exit_code == 0, done.output
    assert "report   " in done.stdout and "dataset  " in done.stdout and "v000001" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["verdict"] in ("PASS", "WARN")
    assert (tmp_path / "r.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert (tmp_path / "published/mixed/LATEST").read_text().strip() == "v000001"
    runs = tmp_path / "runs"
    listed = cli("runs", "--runs", runs, "--json", tmp_path / "l.json")
    assert listed.exit_code == 0 and json.loads((tmp_path / "l.json").read_text())[0]["version"] == "v000001"
    assert cli("report", "mixed", "--runs", runs).exit_code == 0
    assert "counterpoise 0." in cli("--version").stdout
    more = cli("sample", "mixed", "--rows", 25, "--where", "label=rare", "--out", tmp_path / "more.parquet", "--runs", runs)
    assert more.exit_code == 0, more.output
    assert set(pd.read_parquet(tmp_path / "more.parquet")["label"]) == {"rare"}
    assert "were judged" not in more.stderr
    assert run(plan_file).exit_code == 3  # copies; whoever draws more of them is told
    copied = cli("sample", "mixed", "--rows", 5, "--runs", runs)
    assert copied.exit_code == 0 and "were judged BLOCK, and more of its model are no better: " in copied.stderr
    refused(cli("sample", "mixed", "--rows", 5, "--where", "label=rar", "--runs", runs), "rar")
    refused(cli("sample", "mixed", "--rows", 5, "--where", "labl=rare", "--runs", runs), "labl")
    for condition in ("amount>3", "amount >= 3", "amount==3", "label!=rare", "amount<3 and label=rare"):
        column = condition[: len("amount")].rstrip("!")
        said = f"--where {condition}: there are no comparisons, only column=value, e.g. --where {column}=VALUE"
        refused(cli("sample", "mixed", "--rows", 5, "--where", condition, "--runs", runs), said)
    twice = ("--where", "label=rare", "--where", "label=common")
    refused(cli("sample", "mixed", "--rows", 5, *twice, "--runs", runs), "--where names the column 'label' twice", "once")


def test_copies_are_blocked_and_quarantined(plan_file: Path) -> None:
    done = run(plan_file)
    assert done.exit_code == 3, done.output
    assert "BLOCK" in done.stdout and "quarantine" in done.stdout
    assert not (plan_file.parent / "published/mixed/LATEST").exists()
    assert list((plan_file.parent / "published/mixed/quarantine").iterdir())


def test_too_little_data_is_inconclusive(plan_file: Path) -> None:
    done = run(plan_file, "-o", "generator.use=smote", "-o", "gate.detect=0.01", "-o", "gate.alpha=1e-9")
    assert done.exit_code == 4, done.output
    assert "INCONCLUSIVE" in done.stdout


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "flows", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    heavy = ("torch", "prefect", "great_expectations", "pandas", "sklearn", "sdv", "scipy")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & set(heavy)
    best = min(_seconds([sys.executable, "-m", "flows", "--help"]) for _ in range(3))
    assert best < 2.0  # under one second on a machine that does nothing else


def _seconds(command: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    return time.monotonic() - started


@pytest.mark.parametrize(
    "verb",
    [
        "init",
        "plan",
        "run",
        "judge",
        "sample",
        "report",
        "runs",
        "doctor",
        "schema",
        "serve",
        "history",
        "prune",
        "tag",
        "ledger",
    ],
)
def test_every_verb_has_help(verb: str) -> None:
    done = cli(verb, "--help")
    assert done.exit_code == 0 and "Usage" in done.stdout


def test_init_writes_a_plan_that_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frame = mixed_table(400).to_pandas()
    frame.to_csv("parts of May.csv", index=False)
    made = cli("init", "parts of May.csv")
    assert made.exit_code == 0, made.output
    text = Path("parts_of_may.yaml").read_text()
    assert "target: label" in text and "made anew" in text
    refused(cli("init", "parts of May.csv"), "--force")
    shown = cli("plan", "parts_of_may.yaml", "--no-measure", "--json", "p.json")
    assert shown.exit_code == 0, shown.output
    classes = json.loads(Path("p.json").read_text())["classes"]
    assert {c["name"] for c in classes} == {"common", "rare"}
    done = cli("run", "parts_of_may.yaml", "-o", "generator.epochs=1", "-o", "generator.min_steps=5")
    assert done.exit_code in (0, 3, 4), done.output
    assert "report   " in done.stdout


def test_times_that_are_in_order_stay_in_order_in_a_first_plan(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ordered = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 300, 400), unit="D")
    low = rng.normal(size=400).round(2)
    frame = pd.DataFrame({"ordered": ordered, "shipped": ordered + pd.to_timedelta(rng.integers(1, 9, 400), unit="D")})
    frame.assign(low=low, high=(low + rng.exponential(size=400)).round(2)).to_csv(tmp_path / "orders.csv", index=False)
    assert cli("init", tmp_path / "orders.csv", "--out", tmp_path / "orders.yaml").exit_code == 0
    rule = "- {use: inequality, columns: [ordered, shipped]}"
    assert (
        f"\nconstraints:\n  {rule}\n  # - {{use: inequality, columns: [low, high]}}" in (tmp_path / "orders.yaml").read_text()
    )
    assert [str(each.use) for each in load(tmp_path / "orders.yaml").constraints] == ["inequality"]


def test_init_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    refused(cli("init", tmp_path / "nothing.csv"), "no such file", "; name a csv or Parquet file, a folder")
    (tmp_path / "things.csv").write_text("a\n1\n")
    refused(cli("init", tmp_path / "thing.csv"), "no such file", "; did you mean", "things.csv'?")
    (tmp_path / "a.png").write_bytes(b"x")
    refused(cli("init", tmp_path), "folder of its own")


def test_doctor_finds_this_installation_well() -> None:
    done = cli("doctor")
    assert "python" in done.stdout and "device" in done.stdout
    assert done.exit_code in (0, 2)


def test_schema_is_json() -> None:
    assert json.loads(cli("schema").stdout)["title"] == "counterpoise plan"


def test_serve_asks_for_plans() -> None:
    refused(cli("serve"), "missing argument 'PLAN...'")


def test_faults_of_a_plan(plan_file: Path) -> None:
    refused(cli("run", plan_file.parent / "nothing.yaml"), "no such plan")
    refused(run(plan_file, "-o", "generator.use=gann"), "generator.use", "did you mean 'gan'?")
    refused(run(plan_file, "-o", "generator.use=gan", "-o", "generator.epoch=3"), "did you mean 'epochs'?")
    refused(run(plan_file, "-o", "seed=x"), "seed")
    refused(run(plan_file, "-o", "purpose=release"), "a release draws rows as the model has them")
    assert not (plan_file.parent / "runs").exists()


MIXED = mixed_table().to_pandas()

FAULTS = {
    "an empty file": (b"", "empty"),
    "a header alone": (",".join(MIXED.columns).encode() + b"\n", "header"),
    "ragged rows": (b"a,label\n1,x\n2,y,3\n", "line 3"),
    "duplicate column names": (b"a,a,label\n1,2,x\n3,4,y\n", "'a'"),
    "not text": (b"a,label\n\xff\xfe\x00\x81,x\n1,y\n" * 9, "mixed.csv"),
    "inf": (rows_of(MIXED.assign(amount=np.where(np.arange(len(MIXED)) == 3, np.inf, MIXED["amount"]))).encode(), "amount"),
    "a target that is missing": (rows_of(MIXED.drop(columns="label")).encode(), "label"),
    "a constant target": (rows_of(MIXED.assign(label="one")).encode(), "label"),
    "an all-null target": (rows_of(MIXED.assign(label=None)).encode(), "label"),
    "a class with one row": (rows_of(MIXED.assign(label=["once", *["often"] * (len(MIXED) - 1)])).encode(), "once"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_files_get_one_sentence(plan_file: Path, name: str) -> None:
    text, said = FAULTS[name]
    with_csv(plan_file, text)
    refused(run(plan_file), said)
    assert not (plan_file.parent / "published").exists()


def test_a_missing_file_gets_one_sentence(plan_file: Path) -> None:
    (plan_file.parent / "mixed.csv").unlink()
    refused(run(plan_file), "mixed.csv", "no such file")


def test_few_rows_end_in_words_not_in_a_traceback(plan_file: Path) -> None:
    with_csv(plan_file, rows_of(MIXED.head(12)))
    done = run(plan_file, "-o", "gate.detect=0.05")
    assert done.exit_code in (2, 3, 4), done.output
    assert "Traceback" not in done.output


HANDLED = {
    "an all-null and a constant column": MIXED.assign(empty=None, same=3),
    "ten thousand categories": pd.concat([MIXED] * 100).assign(code=[f"c{i % 10_000}" for i in range(100 * len(MIXED))]),
    "emoji, commas and quotes in categories": MIXED.assign(city=np.where(MIXED["member"], 'a "b", c 🎈', "Ulm; \\n")),
}


@pytest.mark.parametrize("name", HANDLED)
def test_odd_columns_are_handled(plan_file: Path, name: str) -> None:
    frame = HANDLED[name].assign(key=[f"k{i:06d}" for i in range(len(HANDLED[name]))])
    with_csv(plan_file, rows_of(frame))
    done = run(plan_file, "-o", "generator.use=gan", "-o", "generator.epochs=1", "-o", "generator.min_steps=3")
    assert done.exit_code in (0, 3, 4), done.output
    samples = sorted((plan_file.parent / "runs").glob("mixed/*/samples/*.parquet"))
    drawn = pd.concat([pd.read_parquet(p) for p in samples])
    assert set(drawn.columns) == set(frame.columns)
    if "empty" in frame:
        assert drawn["empty"].isna().all() and (drawn["same"] == 3).all()
    assert set(drawn["city"].dropna()) <= set(frame["city"])
    assert pd.to_datetime(drawn["since"]).min() < pd.Timestamp("1970-01-01")


def test_an_unreadable_database(plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
    text = plan_file.read_text().replace(
        f"{{use: csv, path: {tmp_path / 'mixed.csv'}}}",
        f"{{use: sql, url: 'sqlite:///{tmp_path / 'broken.db'}', query: select * from t}}",
    )
    plan_file.write_text(text)
    refused(run(plan_file), "broken.db")


def test_a_diverging_generator_names_epoch_and_remedy(plan_file: Path) -> None:
    settings = ("generator.use=gan", "generator.epochs=30", "generator.learning_rate=1e30")
    refused(run(plan_file, *(part for s in settings for part in ("-o", s))), "epoch", "learning_rate")


def test_a_target_in_the_way_of_publishing(plan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused(run(plan_file, "-o", f"publish.root={tmp_path / 'file'}"), "file")


def test_judge_two_halves_and_a_hole(tmp_path: Path) -> None:
    frame = mixed_table(3000, seed=5).to_pandas().drop(columns="key")
    parts = {
        "train": frame[:1200],
        "holdout": frame[1200:2000],
        "synthetic": frame[2000:],
        "hole": frame[2000:][frame[2000:]["city"] != "Bern, west"],
    }
    for name, part in parts.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    files = ("--train", tmp_path / "train.csv", "--holdout", tmp_path / "holdout.csv", "--target", "label")
    good = cli("judge", *files, "--synthetic", tmp_path / "synthetic.csv", "--json", tmp_path / "good.json")
    assert good.exit_code == 0, good.output
    bad = cli(
        "judge", *files, "--synthetic", tmp_path / "hole.csv", "--json", tmp_path / "bad.json", "--html", tmp_path / "bad.html"
    )
    assert bad.exit_code == 3, bad.output
    report = json.loads((tmp_path / "bad.json").read_text())
    assert "Bern, west" in report["reason"]
    assert (tmp_path / "bad.html").is_file()
    refused(cli("judge", *files, "--synthetic", tmp_path / "none.csv"), "none.csv")
    refused(cli("judge", *files[:4], "--target", "lable", "--synthetic", tmp_path / "synthetic.csv"), "did you mean 'label'?")
