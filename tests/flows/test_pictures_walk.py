"""Does a folder of pictures go the whole way: init, plan, run, export, sample?"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from data.images import box, decode
from flows.cli import app

SIZE = 32
ROWS = re.compile(r"(?<!\.)\brows?\b")
runner = CliRunner()


def part(rng: np.random.Generator, defect: str | None) -> tuple[np.ndarray, np.ndarray]:
    """A gray part with a gradient and noise, with a bright dot or a dark line on it; and its mask."""
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = 110 + 30 * rng.random() + 0.6 * x + rng.normal(0, 6, (SIZE, SIZE))
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    if defect == "dot":
        cx, cy, r = rng.integers(8, SIZE - 8), rng.integers(8, SIZE - 8), rng.uniform(2, 4)
        mask = (x - cx) ** 2 + (y - cy) ** 2 <= r**2
        pixels[mask] += 90
    if defect == "line":
        row, start = rng.integers(4, SIZE - 4), rng.integers(2, 10)
        mask[row : row + 2, start : start + rng.integers(10, 20)] = True
        pixels[mask] -= 70
    return np.clip(pixels, 0, 255).astype(np.uint8), mask


def write_folder(root: Path, counts: dict[str, int], seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name, n in counts.items():
        (root / name).mkdir(parents=True)
        (root / "masks" / name).mkdir(parents=True)
        for i in range(n):
            pixels, mask = part(rng, None if name == "good" else name)
            Image.fromarray(pixels).save(root / name / f"{i:03d}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / name / f"{i:03d}.png")
    return root


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures, the plan that init wrote for it, and a finished run."""
    desk = tmp_path_factory.mktemp("desk")
    write_folder(desk / "parts", {"good": 60, "dot": 40, "line": 24})
    answer = call(desk, "init", "parts")
    assert answer.exit_code == 0, answer.output
    plan = (desk / "parts.yaml").read_text().replace("use: image.paste", "use: image.procedural")
    (desk / "parts.yaml").write_text(plan)
    answer = call(desk, "run", "parts.yaml", "-o", "gate.alpha=0.05", "-o", "gate.utility=off", "--quiet")
    assert answer.exit_code in (0, 3, 4), answer.output
    return desk


def call(desk: Path, *arguments: str) -> Any:
    before = Path.cwd()
    os.chdir(desk)
    try:
        return runner.invoke(app, list(arguments))
    finally:
        os.chdir(before)


def the_run(desk: Path) -> Path:
    return next((desk / "runs/parts").iterdir())


def test_init_finds_the_good_parts_the_masks_and_a_family_that_paints(desk: Path) -> None:
    text = (desk / "parts.yaml").read_text()
    assert "normal: good" in text
    assert "64 have marks" in text
    assert "mix: balanced" in text


def test_init_names_pictures_that_are_alike_and_where_all_of_them_are_listed(desk: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "twins", {"good": 12, "dot": 12})
    for i in range(5):
        shutil.copy(tmp_path / f"twins/good/{i:03d}.png", tmp_path / f"twins/good/twin{i}.png")
    said = call(tmp_path, "init", "twins")
    assert said.exit_code == 0 and "· Kept together because" in said.stderr
    note, where, blind = (line for line in (tmp_path / "twins.yaml").read_text().splitlines() if line.startswith("# Note: "))
    assert "good/000.png = good/twin0.png; good/001.png = good/twin1.png" in note and "more groups" in note
    assert "counterpoise plan twins.yaml --json FILE" in where
    assert "Few pictures can be judged, so the plan says `detect: 1`" in blind and blind.removeprefix("# Note: ") in said.stderr
    (tmp_path / "twins/scratch").mkdir()
    answer = call(tmp_path, "plan", "twins.yaml", "--no-measure", "--json", "told.json")
    assert answer.exit_code == 0 and "in 24 groups" in answer.output
    assert "· Folders without any picture: 1 (scratch)." in answer.output and "· Kept together" in answer.output
    groups = json.loads((tmp_path / "told.json").read_text())["groups"].values()
    assert ["good/004.png", "good/twin4.png"] in list(groups)


def test_a_plan_says_what_would_happen(desk: Path) -> None:
    answer = call(desk, "plan", "parts.yaml", "--no-measure")
    assert answer.exit_code == 0, answer.output
    assert "124 pictures of 32 x 32 px, gray" in answer.output
    assert not ROWS.search(answer.output)


def test_defects_are_filled_up_to_the_good_parts_which_are_not_drawn(desk: Path) -> None:
    drawn = json.loads((the_run(desk) / "choice.json").read_text())["draw"]
    assert drawn == {"good": 0, "dot": 20, "line": 36}


def test_what_is_published_or_quarantined_holds_pictures_masks_boxes_and_seeds(desk: Path) -> None:
    files = sorted((desk / "published/parts").rglob("data/*.parquet"))
    table = pq.read_table(files[0])
    rows = [row for row in table.to_pylist() if row["is_synthetic"]]
    assert len(rows) == 56 and table.num_rows == 124 + 56
    for row in rows:
        mask = decode(row["mask"]["bytes"])[:, :, 0] > 0
        assert decode(row["image"]["bytes"]).shape == (SIZE, SIZE, 1)
        assert mask.any() and row["seed"] is not None and row["source"]
        x, y, w, h = box(mask) or (0, 0, 0, 0)
        boxes = np.array(row["objects"]["bbox"])
        assert boxes[:, 0].min() == x and boxes[:, 1].min() == y and (boxes[:, 0] + boxes[:, 2]).max() == x + w
    assert b'"mask": {"_type": "Image"}' in table.schema.metadata[b"huggingface"]


def test_the_report_is_there_and_names_its_extractor(desk: Path) -> None:
    report = json.loads((the_run(desk) / "report.json").read_text())
    assert {f["check"] for f in report["findings"]} >= {"schema", "modes", "copies", "spread", "labels", "coverage", "fidelity"}
    assert not [f for f in report["findings"] if f["verdict"] == "ERROR"]
    assert (the_run(desk) / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("to", "made"), [("coco", "annotations/instances_train.json"), ("yolo", "data.yaml"), ("folder", "index.csv")]
)
def test_export(to: str, made: str, desk: Path, tmp_path: Path) -> None:
    answer = call(desk, "export", "parts", "--to", to, "--out", str(tmp_path / to), "--blocked")
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / to / made).is_file()
    rows = [line.split() for line in answer.stdout.splitlines()]
    held = json.loads((the_run(desk) / "stages.json").read_text())["split"]["facts"]["rows"]
    figures = {
        (row[0], row[1]): (int(row[2]), int(row[3])) for row in rows if row[0] in ("train", "val", "holdout") and row[1] != "on"
    }
    assert [figures["train", name][1] for name in ("good", "dot", "line")] == [0, 20, 36]
    assert sum(real for (part, _), (real, _) in figures.items() if part == "train") == held["train"]
    assert sum(real for (part, _), (real, _) in figures.items() if part == "holdout") == held["holdout"]
    assert not any(drawn for (part, _), (_, drawn) in figures.items() if part != "train")
    assert "alone: the real pictures of holdout are kept for testing" in answer.stdout
    assert answer.stdout.splitlines()[-1] == str(tmp_path / to)
    again = call(desk, "export", "parts", "--to", to, "--out", str(tmp_path / to), "--blocked")
    assert again.exit_code == 2 and "not empty" in again.output


def test_what_did_not_pass_goes_out_only_when_asked(desk: Path, tmp_path: Path) -> None:
    verdict = json.loads((the_run(desk) / "decision.json").read_text())["verdict"]
    answer = call(desk, "export", "parts", "--to", "coco", "--out", str(tmp_path / "out"))
    assert (answer.exit_code == 0) == (verdict in ("PASS", "WARN"))
    assert (tmp_path / "out").exists() == (verdict in ("PASS", "WARN"))


def test_more_pictures_into_a_folder(desk: Path, tmp_path: Path) -> None:
    answer = call(desk, "sample", "parts", "--rows", "5", "--where", "class=dot", "--out", str(tmp_path / "more"))
    assert answer.exit_code == 0, answer.output
    assert len(list((tmp_path / "more/dot").glob("*.png"))) == 5
    with (tmp_path / "more/index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        mask = decode((tmp_path / "more" / row["mask"]).read_bytes())[:, :, 0] > 0
        left, top, right, bottom = (int(row[name]) for name in ("left", "top", "right", "bottom"))
        assert mask[top:bottom, left:right].any()
    answer = call(desk, "sample", "parts", "--rows", "5")
    assert answer.exit_code == 2 and "folder" in answer.output


def test_a_family_of_tables_is_refused_for_pictures(desk: Path) -> None:
    answer = call(desk, "run", "parts.yaml", "-o", "generator={use: gan}")
    assert answer.exit_code == 2
    assert "image.gan" in answer.output


def test_the_same_plan_twice_gives_the_same_bytes(desk: Path) -> None:
    def bytes_of() -> list[bytes]:
        return [p.read_bytes() for p in sorted((the_run(desk) / "samples").glob("*.parquet"))]

    before = bytes_of()
    answer = call(desk, "run", "parts.yaml", "-o", "gate.alpha=0.05", "-o", "gate.utility=off", "--quiet", "--fresh")
    assert answer.exit_code in (0, 3, 4), answer.output
    assert bytes_of() == before


def test_the_list_of_runs_names_the_family(desk: Path) -> None:
    answer = call(desk, "runs")
    assert "family" in answer.output and "image.procedural" in answer.output
    assert max(len(line.rstrip()) for line in answer.output.splitlines()) <= 80


def test_the_help_of_score_shows_how_to_come_to_a_score(desk: Path) -> None:
    said = call(desk, "score", "--help").output
    assert "generator.use=image.vae" in said and "counterpoise score odd" in said


def test_a_run_of_pictures_speaks_of_pictures(desk: Path) -> None:
    answer = call(desk, "run", "parts.yaml", "-o", "gate.detect=0.01", "-o", "gate.utility=off", "--runs", "others")
    assert "124 pictures\n" in re.sub(r"  \(.*s\)", "", answer.output)
    assert "holdout pictures would do" in answer.output
    assert not ROWS.search(answer.output), ROWS.search(answer.output)
    few = call(
        desk, "plan", "parts.yaml", "--no-measure", "-o", "sample.mix=balanced", "-o", "split={holdout: 0.01, reference: 0.0}"
    )
    assert not ROWS.search(few.output), few.output


def test_a_refusal_of_few_pictures_speaks_of_pictures(tmp_path: Path) -> None:
    write_folder(tmp_path / "few", {"good": 20, "dot": 5})
    assert call(tmp_path, "init", "few").exit_code == 0
    answer = call(tmp_path, "run", "few.yaml", "-o", "split.holdout=0.2", "-o", "gate.draws=1")
    assert answer.exit_code == 2
    assert "holdout pictures of dot" in answer.output
    assert "give more pictures" in answer.output
