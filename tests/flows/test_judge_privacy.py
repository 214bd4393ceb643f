"""Does `judge --privacy` tell rows that give people away from rows that do not?"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.csv as pacsv
import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.generators.test_dp import people

runner = CliRunner()
ATTACKS = ("membership", "singling_out", "linkability", "inference", "rare")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, holdout and other people of the same kind, 500 rows each, whose columns say little of one another."""
    folder = tmp_path_factory.mktemp("judge")
    table = people(1500, seed=5).table
    for place, name in enumerate(("train", "holdout", "others")):
        pacsv.write_csv(table.slice(500 * place, 500), folder / f"{name}.csv")
    return folder


def judged(files: Path, made: str, *options: str) -> tuple[int, dict[str, str], dict[str, list[str]]]:
    real = ("--train", str(files / "train.csv"), "--holdout", str(files / "holdout.csv"), "--target", "label")
    report = files / "report.json"
    asked = ("--synthetic", str(files / f"{made}.csv"), "--utility", "off", "--quiet", "--json", str(report), *options)
    answer = runner.invoke(app, ["judge", *real, *asked])
    said = json.loads(report.read_text()) if report.is_file() else {"findings": []}
    report.unlink(missing_ok=True)
    summaries = {f["check"]: [f["summary"]] for f in said["findings"]}
    summaries["said"] = [" ".join(answer.output.split())]
    return answer.exit_code, {f["check"]: f["verdict"] for f in said["findings"]}, summaries


def test_attacks_block_a_copy_of_the_train_rows(files: Path) -> None:
    code, verdicts, _ = judged(files, "train", "--privacy")
    assert code == 3
    assert {verdicts[name] for name in ("membership", "linkability", "rare")} == {"BLOCK"}


def test_attacks_pass_rows_of_other_people(files: Path) -> None:
    code, verdicts, _ = judged(files, "others", "--privacy")
    assert code in (0, 4) and set(ATTACKS) <= set(verdicts)
    assert {verdicts[name] for name in ATTACKS} <= {"PASS", "SKIPPED"} and verdicts["membership"] == "PASS"


def test_what_is_known_and_wanted_is_named(files: Path) -> None:
    _, verdicts, said = judged(files, "train", "--privacy", "--quasi", "age, city", "--secret", "pay", "--rare", "3")
    assert verdicts["membership"] == "BLOCK" and "guessing pay from age and city" in said["inference"][0]
    assert "age and city" in said["rare"][0]


def test_without_the_flag_no_attack_runs(files: Path) -> None:
    _, verdicts, _ = judged(files, "others")
    assert verdicts and not set(ATTACKS) & set(verdicts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--quasi", "age"), "--quasi and --secret say whom attacks go for, but none are tried; add --privacy"),
        (("--privacy", "--quasi", "agee"), "--quasi: there is no column 'agee'; did you mean 'age'?"),
        (("--privacy", "--quasi", "age,city", "--secret", "city"), "column 'city' is named as quasi and as secret"),
        (("--privacy", "--rare", "1"), "it must be greater than or equal to 2"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(files: Path, options: tuple[str, ...], words: str) -> None:
    code, _, said = judged(files, "others", *options)
    assert code == 2 and words in said["said"][0], said
