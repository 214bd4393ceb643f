"""Are single pictures, and pictures of no known class, scored, and what cannot be read told?"""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from data.dataset import Dataset
from data.errors import DataError
from data.images import pictures, schema
from data.sources import image_folder
from flows import scoring
from flows.cli import app
from tests.data.drawn import classes, put, texture


class Brightness:
    """A model whose score is the mean of a picture."""

    def score(self, rows: Dataset) -> Any:
        return pictures(rows).pixels.mean(axis=(1, 2, 3))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of pictures of 16 px, as far as scoring looks into one."""
    classes(tmp_path / "learned", {"good": 2, "pit": 2})
    train = Dataset(image_folder.read(tmp_path / "learned", size=16), schema(("good", "pit")))
    train.write_parquet(tmp_path / "run" / "work" / "train.parquet")
    data, generator = SimpleNamespace(model_dump=lambda **_: {}), SimpleNamespace(use="image.gan")
    plan = SimpleNamespace(several=False, modality="image", generator=generator, data=data)
    made = SimpleNamespace(folder=tmp_path / "run", plan=plan, settled=plan)
    monkeypatch.setattr(scoring.Run, "find", lambda *_, **__: made)
    monkeypatch.setattr(scoring, "load_model", lambda _: Brightness())
    monkeypatch.setattr(scoring, "load_schema", lambda _: train.schema)
    return tmp_path


def test_one_picture_of_no_class_is_scored_and_a_damaged_one_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(run / "new/0.png", texture(0))
    scoring.score_rows("x", run, run / "new", out=None)
    assert capsys.readouterr().out.startswith("source,class,score\n0.png,unknown,")
    put(run / "new/1.png", texture(1).point(lambda value: value // 2))
    (run / "new/2.png").write_bytes(b"")
    scoring.score_rows("x", run, run / "new", out=run / "scores.csv")
    lines = [line.split(",") for line in (run / "scores.csv").read_text().splitlines()[1:]]
    assert [line[0] for line in lines] == ["0.png", "1.png"] and np.diff([float(line[2]) for line in lines]) < 0
    assert "Left out because they cannot be read: 1 (2.png" in capsys.readouterr().err


def test_a_folder_is_no_file_to_write_to(run: Path) -> None:
    with pytest.raises(DataError, match="name a file in a folder that exists"):
        scoring.score_rows("x", run, run / "learned", out=run)


def test_a_file_that_is_not_there_is_named_before_the_family(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "load_model", lambda _: object())
    with pytest.raises(DataError, match=r"nosuch.csv: there is no such file or folder"):
        scoring.score_rows("x", run, run / "nosuch.csv", out=None)
    with pytest.raises(DataError, match="gives no anomaly scores"):
        scoring.score_rows("x", run, run / "learned", out=None)


@pytest.mark.parametrize("family", ["autoregressive", "flow", "vae"])
def test_rows_of_a_file_are_scored_by_a_run_of_a_table(
    family: str, plan_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, odd = plan_file.parent / "runs", plan_file.parent / "odd.csv"
    settings = ["-o", f"generator.use={family}", "-o", "gate.utility=off", "-q"]
    code = CliRunner().invoke(app, ["run", str(plan_file), "--runs", str(runs), *settings]).exit_code
    assert code in (0, 3, 4)
    text = (plan_file.parent / "mixed.csv").read_text().splitlines()
    frame = pd.read_csv(io.StringIO("\n".join(text[:41])))
    frame.loc[7, "amount"] = 1e9
    frame.assign(more="a column that nobody asked for").to_csv(odd, index=False)
    name = next(place.name for place in runs.iterdir() if place.is_dir())
    scoring.score_rows(name, runs, odd, out=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "row,score" and len(lines) == 41 and lines[1].startswith("7,")
    for column, value, what in (("amount", "abc", "numbers"), ("visits", "1O", "numbers"), ("since", "soon", "dates")):
        cells = frame[column].astype(object)
        cells[2], cells[3], cells[5] = "-", None, value
        frame.assign(**{column: cells}).to_csv(odd, index=False)
        with pytest.raises(DataError, match=f"odd.csv: column '{column}' holds '{value}' in row 5 .* has learned {what}; corr"):
            scoring.score_rows(name, runs, odd, out=None)
    frame.astype({"amount": str}).to_parquet(odd.with_suffix(".parquet"))
    with pytest.raises(DataError, match=r"odd.parquet: column 'amount' is text, where the model has learned numbers; write"):
        scoring.score_rows(name, runs, odd.with_suffix(".parquet"), out=None)
    frame.drop(columns=["amount"]).to_csv(odd, index=False)
    with pytest.raises(DataError, match="lacks the column 'amount'"):
        scoring.score_rows(name, runs, odd, out=None)
