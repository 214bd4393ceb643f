"""Does tuning find better settings, keep what it found, and write a plan with them?"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from configs.components import families, settings_model
from configs.load import load
from flows import ground, tune
from flows.cli import app
from generators.base import Generator, Range
from tests.flows import stubs
from tests.flows.test_bakeoff import STUB, here, plan_of

runner = CliRunner()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tune, "workers", lambda *_: 1)
    with ground.tried_by(here):
        yield


def plan_with(tmp_path: Path, family: str, more: str = "") -> Path:
    """A plan with comments; its rows are to stand in place of real ones, so that fidelity leads."""
    path = plan_of(tmp_path, "Good")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("choose")]
    more = more or "width: 1.5  # wide"
    end = f'# what I was told\nchoose: {{use: replace}}\ngenerator:\n  use: "{STUB}{family}"  # mine\n  {more}\n'
    path.write_text("\n".join([*lines, end]))
    return path


def call(tmp_path: Path, path: Path, *more: str) -> tuple[int, str]:
    answer = runner.invoke(app, ["tune", str(path), "--runs", str(tmp_path / "runs"), *more])
    return answer.exit_code, answer.output


def test_better_settings_are_found_and_written_with_the_comments_kept(tmp_path: Path) -> None:
    path = plan_with(tmp_path, "Good")
    code, output = call(tmp_path, path, "--trials", "10", "--minutes", "30", "--quiet")
    assert code == 0, output
    made = tmp_path / "mixed.tuned.yaml"
    text, plan = made.read_text(), load(made)
    assert plan.generator.settings["width"] < 0.5 and plan.generator.use == f"{STUB}Good"
    assert "# what I was told" in text and "# mine" in text and "# Tuned: 10 settings tried" in text
    assert "gained +" in output and "95 % interval" in output and f"width: 1.5 -> {plan.generator.settings['width']}" in output
    assert output.strip().splitlines()[-1] == str(made)
    code, output = call(tmp_path, path, "--trials", "10")
    assert code == 2 and "--force" in output and len(output.strip().splitlines()) == 1


def test_where_nothing_beats_the_plan_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    code, output = call(tmp_path, plan_with(tmp_path, "Stubborn", "width: 0.1"), "--trials", "3")
    assert code == 0 and "nothing beat the plan's own settings" in output, output
    assert not (tmp_path / "mixed.tuned.yaml").exists()


def test_failed_trials_lose_and_the_search_goes_on(tmp_path: Path) -> None:
    code, output = call(tmp_path, plan_with(tmp_path, "Moody"), "--trials", "9")
    assert code == 0 and "failed" in output, output
    assert load(tmp_path / "mixed.tuned.yaml").generator.settings["width"] >= 0.1


def test_an_interrupted_search_goes_on_and_makes_no_trial_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stubs.LEDGER, str(tmp_path / "ledger"))
    path, turns = plan_with(tmp_path, "Good"), 0

    def killed(folder: str, seconds: float) -> Mapping[str, Any]:
        nonlocal turns
        turns += 1
        if turns == 4:
            raise KeyboardInterrupt
        return here(folder, seconds)

    with ground.tried_by(killed):
        code, _ = call(tmp_path, path, "--trials", "5")
    assert code == 130
    code, output = call(tmp_path, path, "--trials", "5")
    assert code == 0 and "5 settings tried" in output, output
    fits = [json.loads(line)[1:] for line in (tmp_path / "ledger").read_text().splitlines()]
    own = [fit for fit in fits if fit[1] == 1.5]
    assert len(own) == 2  # its two rungs, once each
    made = len(list((tmp_path / "runs/tune").glob("*/trials/*.json")))
    assert made == len(fits)


@pytest.mark.parametrize(
    ("family", "more", "said"),
    [
        ("Fixed", ("--trials", "3"), "says nothing of what can be searched; name one of autoregressive"),
        ("Good", ("--trials", "20", "--minutes", "0.1"), "give at least"),
        ("Refusing", ("--trials", "3"), "the plan's own settings gave no figures"),
        ("Good", ("--out", "nowhere/plan.yaml"), "name a file in a folder that exists"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, family: str, more: tuple[str, ...], said: str) -> None:
    code, output = call(tmp_path, plan_with(tmp_path, family), "--quiet", *more)
    assert code == 2 and said in output and len(output.strip().splitlines()) == 1, output


def test_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: p\ndata: {use: image_folder, path: somewhere}\n")
    code, output = call(tmp_path, path)
    assert code == 2 and "these are pictures" in output


def test_a_family_that_no_plan_names_is_that_of_the_questions(tmp_path: Path) -> None:
    path = plan_of(tmp_path, "Good", more=", use: replace")
    code, output = call(tmp_path, path, "--trials", "4")
    assert code == 0 and output.startswith(f"{STUB}Good: 4 settings tried"), output


def test_ranges_are_of_fields_and_hold_their_defaults() -> None:
    searched = {name: f for name, f in families("generators", Generator).items() if getattr(f, "ranges", None)}
    assert {"autoregressive", "gan", "diffusion", "vae", "flow", "tilt", "smote"} <= set(searched)
    for family in searched.values():
        fields = settings_model(family).model_fields
        for name, space in family.ranges.items():
            assert space.holding(fields[name].default) == space, (family, name)


def test_a_range_grows_to_hold_a_value() -> None:
    assert Range(1, 3).holding(7) == Range(1, 7) and Range(0.1, 1.0).holding(0.5) == Range(0.1, 1.0)
    assert Range(choices=("a", "b")).holding("c").choices == ("a", "b", "c")
