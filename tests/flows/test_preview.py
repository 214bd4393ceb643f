"""Does `plan` foresee what a run would refuse, and say what shows its cost?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows.cli import app

runner = CliRunner()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of good parts and of a defect, no masks, and the plan that init wrote."""
    desk = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    for name, n in {"good": 60, "bad": 30}.items():
        (desk / "parts" / name).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(90, 160, (32, 32), dtype=np.uint8)).save(desk / "parts" / name / f"{i}.png")
    answer = runner.invoke(app, ["init", str(desk / "parts"), "--out", str(desk / "parts.yaml")])
    assert answer.exit_code == 0, answer.output
    return desk


def plan(desk: Path, *more: str) -> tuple[int, str]:
    answer = runner.invoke(app, ["plan", str(desk / "parts.yaml"), *(w for m in more for w in ("-o", m))])
    return answer.exit_code, " ".join(answer.output.split())


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("generator.use=image.paste", "no picture of class 'bad' has a mask or box"),
        ("generator.task=inpaint", "painting defects needs a mask or box of each, and class 'bad' has none"),
        ("generator.normal=fine", "'fine'"),
    ],
)
def test_material_that_a_family_cannot_use_is_refused_before_a_run(desk: Path, family: str, said: str) -> None:
    use = () if family.startswith("generator.use") else ("generator.use=image.finetune",)
    code, output = plan(desk, *use, family)
    assert code == 2 and said in output


def test_cost_is_measured_and_what_stands_against_a_run_is_said(desk: Path) -> None:
    code, output = plan(desk, "generator.use=image.procedural", "gate.detect=1")
    assert code == 0 and re.search(r"cost fitting about \d+ s, drawing \d+ pictures about \d+ s; memory \d+ MiB", output), (
        output
    )
    assert "feasible go: nothing stands against it" in output
    answer = runner.invoke(app, ["plan", str(desk / "parts.yaml"), "--no-measure"])
    assert "not measured" in answer.output and "feasible" not in answer.output


@pytest.mark.parametrize(("shown", "use"), [(True, "image.paste"), (False, "image.diffusion")])
def test_init_pastes_what_it_can_find_without_masks(tmp_path: Path, shown: bool, use: str) -> None:
    rng = np.random.default_rng(1)
    for name, n in {"good": 60, "bad": 20}.items():
        (tmp_path / "parts" / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.normal(130, 8, (32, 32)).clip(0, 255).astype(np.uint8)
            if name == "bad" and shown:
                y, x = rng.integers(4, 24, 2)
                pixels[y : y + 5, x : x + 5] = 15
            Image.fromarray(pixels).save(tmp_path / "parts" / name / f"{i}.png")
    answer = runner.invoke(app, ["init", str(tmp_path / "parts"), "--out", str(tmp_path / "plan.yaml")])
    assert answer.exit_code == 0, answer.output
    assert f"use: {use}" in (tmp_path / "plan.yaml").read_text()


def test_a_marker_that_keeps_a_column_from_being_numbers_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    amount = [f"{v:.2f}" for v in rng.lognormal(3, 1, 297)] + ["n.k."] * 3
    rows = zip(amount, ["n.k.", *rng.integers(1, 6, 299)], rng.choice(["a", "b"], 300), strict=True)
    file, where = tmp_path / "shop.csv", str(tmp_path / "shop.yaml")
    file.write_text("amount,rating,y\n" + "".join(f"{a},{r},{y}\n" for a, r, y in rows))
    said = (
        "column 'amount' is numbers except for 'n.k.' in 3 rows; if that means missing, "
        "add `missing: ['', 'n.k.']` under data; until then new ids are made for it",
        "column 'rating' is numbers except for 'n.k.' in 1 row; if that means missing, "
        "add `missing: ['', 'n.k.']` under data; until then it is 6 categories",
    )
    for words in (["init", str(file), "--out", where], ["plan", where, "--no-measure"]):
        output = " ".join(runner.invoke(app, words).output.split())
        assert all(sentence in output for sentence in said), output
        assert "no tabular family" not in output and "Column 'amount'" not in output
    for more in ("data.missing=['', n.k.]", "columns={amount: {kind: text}, rating: {kind: categorical}}"):
        assert "except for" not in runner.invoke(app, ["plan", where, "--no-measure", "-o", more]).output
