"""Is a misused command line told so in one sentence, and an ambiguous one what was taken?"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import mixed_table
from tests.flows.test_cli import cli, refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["runn"], "counterpoise: there is no verb 'runn'; did you mean 'run'?"),
        (["zzz"], "counterpoise: there is no verb 'zzz'; known here: doctor, export, history"),
        (["sample"], "missing argument 'RUN'; `counterpoise sample --help` says what it takes"),
        (["plan"], "missing argument 'PLAN'; `counterpoise plan --help`"),
        (["sample", "x", "--row", "3"], "there is no option --row; did you mean '--rows'?"),
        (["sample", "x", "--qqq", "3"], "there is no option --qqq; `counterpoise sample --help` lists them"),
        (["sample", "x", "--rows", "0"], "invalid value for '--rows' / '-n': it must be greater than or equal to 1; `counter"),
        (["judge", "--train"], "option '--train' requires an argument; `counterpoise"),
        (["--logs", "jsno", "runs"], "counterpoise: invalid value for '--logs': 'jsno' is not one of 'text', 'json'; `counter"),
        (["runs", "one"], "got unexpected extra argument(s) (one); `counterpoise runs --help`"),
    ],
)
def test_a_misuse_is_one_sentence(words: list[str], said: str) -> None:
    done = cli(*words)
    refused(done, said)
    assert len(done.stderr.splitlines()) == 1 and not done.stdout


def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPOISE_LOGS", "jsno")
    refused(cli("runs"), "invalid value for '--logs' (env var: 'COUNTERPOISE_LOGS'): 'jsno' is not one of 'text', 'json'")


def test_no_verb_at_all_shows_the_help() -> None:
    done = cli()
    assert done.exit_code == 2 and "Usage" in done.stdout and "counterpoise:" not in done.stderr


def test_a_name_with_several_runs_says_which_is_taken_and_an_empty_condition_asks_for_a_gap(plan_file: Path) -> None:
    runs = plan_file.parent / "runs"
    for seed in (3, 4):
        done = cli("run", plan_file, "--runs", runs, "-q", "-o", f"seed={seed}", "-o", "gate.utility=off")
        assert done.exit_code == 3, done.output
    latest = max(runs.glob("mixed/*/stages.json"), key=lambda path: path.stat().st_mtime).parent
    taken = f"counterpoise: mixed has 2 runs; taken is the latest, {latest}"
    shown = cli("report", "mixed", "--runs", runs)
    assert shown.exit_code == 0 and shown.stderr.strip() == taken
    drawn = cli("sample", "mixed", "--rows", 9, "--where", "visits=", "--where", "label=rare", "--runs", runs)
    assert drawn.exit_code == 0 and taken in drawn.stderr
    rows = pd.read_csv(io.StringIO(drawn.stdout))
    assert len(rows) == 9 and rows["visits"].isna().all() and (rows["label"] == "rare").all()
    assert not cli("report", latest.name, "--runs", runs).stderr
    refused(cli("sample", latest.name, "--rows", 9, "--where", "amount=", "--runs", runs), "the column has no missing values")


def test_an_empty_condition_means_a_level_that_is_written_so(plan_file: Path) -> None:
    frame = mixed_table().to_pandas()
    frame["city"] = frame["city"].where(frame["city"] != "Ulm", "")
    frame.to_parquet(plan_file.parent / "mixed.parquet")
    plan_file.write_text(plan_file.read_text().replace("use: csv", "use: parquet").replace("mixed.csv", "mixed.parquet"))
    runs = plan_file.parent / "runs"
    assert cli("run", plan_file, "--runs", runs, "-q", "-o", "gate.utility=off").exit_code == 3
    out = plan_file.parent / "some.parquet"
    done = cli("sample", "mixed", "--rows", 5, "--where", "city=", "--out", out, "--runs", runs)
    assert done.exit_code == 0, done.output
    assert set(pd.read_parquet(out)["city"]) == {""}


def test_a_first_plan_that_demands_no_smallest_mode_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for rows, off in ((90, True), (3000, False)):
        mixed_table(rows).to_pandas().to_csv("parts.csv", index=False)
        made = cli("init", "parts.csv", "--force")
        assert made.exit_code == 0, made.output
        text = Path("parts.yaml").read_text()
        assert ("detect: 1 " in text) is ("1 asks for nothing" in text) is off
        assert ("the gate does not demand that a lost mode be noticed" in made.stderr) is off


def test_a_first_plan_says_why_it_asks_to_see_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for rows, raised in ((600, True), (6000, False)):
        mixed_table(rows).to_pandas().to_csv("parts.csv", index=False)
        assert cli("init", "parts.csv", "--force").exit_code == 0
        text = Path("parts.yaml").read_text()
        assert ("# raised from 0.05, because only about 25 holdout rows are judged" in text) is raised
        assert ("detect: 0.05 " in text) is not raised
