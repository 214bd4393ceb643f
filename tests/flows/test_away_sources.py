"""Does a plan whose data lie in S3's or Google's store run to its end, and does `init` write such a plan?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from configs.load import load
from data import remote
from data.remote import fetched
from flows.cli import app
from flows.stages import PLAN_CHECKS
from tests.conftest import mixed_table
from tests.data.emulated import OTHERS, Emulated, free_port, put, running

pytest.importorskip("moto.server")
pytest.importorskip("gcp_storage_emulator")
PASSING = ["-o", "generator.use=smote", "-o", "gate.alpha=1e-9"]


@pytest.fixture(scope="module", params=["s3", "gs"])
def store(request: pytest.FixtureRequest) -> Iterator[Emulated]:
    with running(request.param) as emulated:
        yield emulated


@pytest.fixture
def bucket(store: Emulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh bucket, the way to it in the environment, and a cache of its own."""
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    for name, value in store.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return store.bucket()


def called(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def run(plan: Path, *more: str) -> Any:
    return called("run", str(plan), "--runs", str(plan.parent / "runs"), "--quiet", *more)


def surfaces(folder: Path) -> None:
    """A folder for each class, with pictures that the project draws."""
    from io import BytesIO

    from data.samples.surfaces import draw

    table = draw({"normal": 40, "pit": 32}, size=32, seed=0, colour="gray")
    for i, (picture, level) in enumerate(zip(table["image"].to_pylist(), table["class"].to_pylist(), strict=True)):
        (folder / level).mkdir(parents=True, exist_ok=True)
        Image.open(BytesIO(picture["bytes"])).save(folder / level / f"{i:03d}.png")


def test_rows_there_are_those_of_a_file_here_and_another_run_when_they_changed(
    bucket: str, plan_file: Path, tmp_path: Path
) -> None:
    put(tmp_path / "mixed.csv", f"{bucket}/in/mixed.csv")
    there = ["-o", f"data.path={bucket}/in/mixed.csv", "-o", "publish.root=" + str(tmp_path / "there")]
    assert run(plan_file, *PASSING).exit_code == 0
    done = run(plan_file, *PASSING, *there)
    assert done.exit_code == 0, done.output
    data = "mixed/v000001/data/train-00000-of-00001.parquet"
    assert (tmp_path / "there" / data).read_bytes() == (tmp_path / "published" / data).read_bytes()
    run(plan_file, *PASSING, *there)
    assert len(list(tmp_path.glob("runs/*/*"))) == 2
    text = (tmp_path / "mixed.csv").read_text()
    (tmp_path / "mixed.csv").write_text(text + text.splitlines()[1].replace("0", "9", 1) + "\n")
    put(tmp_path / "mixed.csv", f"{bucket}/in/mixed.csv")
    assert run(plan_file, *PASSING, *there).exit_code == 0
    assert len(list(tmp_path.glob("runs/*/*"))) == 3
    gone = run(plan_file, "-o", f"data.path={bucket}/in/none.csv")
    assert gone.exit_code == 2 and f"{bucket}/in/none.csv: there is no such file or folder" in gone.output


def test_a_folder_of_parquet_there_is_one_table(bucket: str, plan_file: Path, tmp_path: Path) -> None:
    for i in range(2):
        (tmp_path / f"set/part{i}").mkdir(parents=True)
        pq.write_table(mixed_table(120, i), tmp_path / f"set/part{i}/rows.parquet")
    put(tmp_path / "set", f"{bucket}/set")
    done = run(plan_file, *PASSING, "-o", "data.use=parquet", "-o", f"data.path={bucket}/set")
    assert done.exit_code == 0, done.output
    stages = json.loads(next(tmp_path.glob("runs/*/*/stages.json")).read_text())
    assert stages["read"]["facts"]["rows"] == 240


def test_init_writes_a_plan_of_an_address(bucket: str, plan_file: Path, tmp_path: Path) -> None:
    put(tmp_path / "mixed.csv", f"{bucket}/in/mixed.csv")
    plan = tmp_path / "first.yaml"
    done = called("init", f"{bucket}/in/mixed.csv", "--target", "label", "--out", str(plan))
    assert done.exit_code == 0, done.output
    data = load(plan, checks=PLAN_CHECKS).data
    assert (data.use, getattr(data, "path", "")) == ("csv", f"{bucket}/in/mixed.csv")
    assert "cache" not in plan.read_text()
    told = called("plan", f"{bucket}/in/mixed.csv", "--no-measure")
    assert told.exit_code == 0 and "240" in told.output
    none = called("init", f"{bucket}/in/none.csv", "--out", str(tmp_path / "none.yaml"))
    assert none.exit_code == 2 and "there is no such file or folder" in none.output
    assert not (tmp_path / "none.yaml").exists()


def test_pictures_there_are_found_read_and_published(
    store: Emulated, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surfaces(tmp_path / "parts")
    put(tmp_path / "parts", f"{bucket}/parts")
    plan = tmp_path / "parts.yaml"
    done = called("init", f"{bucket}/parts/", "--out", str(plan))
    assert done.exit_code == 0, done.output
    assert f"path: {bucket}/parts" in plan.read_text() and "use: image_folder" in plan.read_text()
    if store.kind == "gs":  # what comes after reading knows nothing of stores
        told = called("plan", str(plan), "--no-measure")
        assert told.exit_code == 0 and "72" in told.output
        return
    monkeypatch.chdir(tmp_path)
    done = run(plan, "-o", "generator={use: image.procedural}", "-o", "gate.utility=off", "-o", "gate.draws=2")
    assert done.exit_code in (0, 3, 4), done.output
    stages = json.loads(next(tmp_path.glob("runs/*/*/stages.json")).read_text())
    assert stages["read"]["facts"]["pictures"] == 72 and "publish" in stages


def test_an_index_there_is_read_with_the_pictures_beside_it(bucket: str, tmp_path: Path) -> None:
    if bucket.startswith("gs"):  # how a copy is read asks nothing of a store
        pytest.skip("tried with S3")
    surfaces(tmp_path / "parts")
    names = sorted(p.relative_to(tmp_path / "parts") for p in tmp_path.glob("parts/*/*.png"))
    index = tmp_path / "parts/list.csv"
    index.write_text("image,class\n" + "".join(f"{n},{n.parent.name}\n" for n in names))
    put(tmp_path / "parts", f"{bucket}/parts")
    plan = tmp_path / "list.yaml"
    done = called("init", f"{bucket}/parts/list.csv", "--out", str(plan))
    assert done.exit_code == 0, done.output
    assert f"path: {bucket}/parts/list.csv" in plan.read_text() and "use: image_index" in plan.read_text()
    told = called("plan", str(plan), "--no-measure")
    assert told.exit_code == 0 and "72" in told.output, told.output


def test_a_store_that_is_away_is_one_sentence(
    store: Emulated, bucket: str, plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "AWS_ENDPOINT_URL" if store.kind == "s3" else "STORAGE_EMULATOR_HOST"
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(remote, "PATIENCE", 1)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    done = run(plan_file, "-o", f"data.path={bucket}/in/mixed.csv")
    assert done.exit_code == 2 and f"{bucket}/in/mixed.csv cannot be read (" in done.output
    assert len(done.output.strip().splitlines()) == 1
    with pytest.raises(remote.DataError, match="check the address, the credentials of the environment and the network"):
        fetched(f"{bucket}/set")
