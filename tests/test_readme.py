"""Does every command that the README shows do what it says?"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest

from data.export import export
from data.images import schema
from data.samples.surfaces import draw
from data.schema import Column, Schema
from tests.conftest import ROOT
from tests.generators.test_dp import people
from tests.readings import write_oven

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
#: Less training than the README's default, so that the whole block runs in seconds.
QUICK = ("-o", "generator.min_steps=20")
#: Rows that the README draws to files; the test draws fewer.
MANY = "3000000"


def quicker(words: list[str]) -> tuple[str, ...]:
    """What makes a run of the README short."""
    if "generator.use=image.vae" in words:
        return ("-o", "generator.steps=30", "-o", "gate.utility=off")
    if "oven.yaml" in words:
        return ("-o", "generator.epochs=8", "-o", "generator.min_steps=20", "-o", "gate.utility=off")
    return () if "my_parts.yaml" in words else QUICK


def commands() -> list[list[str]]:
    text = "\n".join(block for kind, block in BLOCKS if kind == "bash").replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with the sample data where the README expects them."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "data").mkdir()
    (folder / "data/samples").symlink_to(ROOT / "data/samples")
    draw_surfaces(folder / "my_parts")
    pacsv.write_csv(people(300).table, folder / "my_people.csv")
    write_oven(folder / "oven.csv")
    return folder


def draw_surfaces(folder: Path) -> None:
    """A folder of pictures such as a user has."""
    table = draw({"normal": 40, "pit": 24, "stain": 16}, size=32)
    classes = schema(["normal", "pit", "stain"])
    flag = Column(name="is_synthetic", kind="boolean", dtype="bool", categories=(True, False))
    marked = table.append_column("is_synthetic", pa.array([False] * table.num_rows))
    export(marked.to_batches(), "folder", folder, schema=Schema((*classes.columns, flag), target="class"), normal="normal")


def call(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hf")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def served(words: list[str], cwd: Path) -> None:
    """A schedule begins, and stops when it is told to."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_HOME": str(cwd / "prefect")}
    command, default = [sys.executable, "-m", "flows", *words], partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=default
    ) as running:
        assert running.stderr is not None
        assert running.stderr.readline().startswith("schedule 0 3 * * * (Europe/Berlin) for my_parts.yaml")
        time.sleep(10)
        assert running.poll() is None, running.stderr.read()
        os.killpg(running.pid, signal.SIGINT)
        said = running.stderr.read()
    assert running.returncode in (0, 130) and "Traceback" not in said, said


@pytest.mark.timeout(900)
def test_every_counterpoise_command_runs(desk: Path) -> None:
    shown = [words for words in commands() if words[0] == "counterpoise"]
    assert {words[1] for words in shown} >= {"init", "plan", "run", "runs", "report", "sample", "judge"}
    for words in shown:
        if words[1] == "serve":
            served(words[1:], desk)
            continue
        quick = [*words[1:], *quicker(words)] if words[1] == "run" else ["300000" if w == MANY else w for w in words[1:]]
        done = call([sys.executable, "-m", "flows", *quick], desk)
        if words[1] == "export" and "must not go out" in done.stderr:
            continue  # the gate blocked what a training of seconds drew
        if words[1] == "tag" and "has no version yet" in done.stderr:
            continue  # as above
        # A quickly trained model may be blocked; anything else than a verdict is a fault of the README.
        assert done.returncode in ((0, 3, 4) if words[1] == "run" else (0,)), (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr


def test_python_blocks_run(desk: Path) -> None:
    """The dataset is published first, by references that surely pass a gate told to be lenient."""
    plan = desk / "parts.yaml"
    made = call(
        [sys.executable, "-m", "flows", "init", "data/samples/parts.csv", "-t", "state", "--out", "parts.yaml", "--force"], desk
    )
    assert made.returncode == 0, made.stderr
    lenient = ("-o", "generator.use=smote", "-o", "gate.alpha=1e-9", "-o", "gate.detect=1.0")
    done = call([sys.executable, "-m", "flows", "run", str(plan), *lenient], desk)
    assert done.returncode == 0, done.stdout + done.stderr
    published, judged, families = (block for kind, block in BLOCKS if kind == "python")
    shown = call([sys.executable, "-c", published + "\nprint(rows['train'].num_rows)"], desk)
    assert shown.returncode == 0, shown.stderr
    assert int(shown.stdout.split()[-1]) > 900
    shown = call([sys.executable, "-c", judged], desk)
    assert shown.returncode == 0 and shown.stdout.startswith("PASS all"), shown.stderr
    told = "\nprint(*(column.null_count for column in filled.columns), len(nats), *points.shape, len(between))"
    shown = call([sys.executable, "-c", families + told], desk)
    assert shown.returncode == 0 and shown.stdout.split()[-11:] == ["0"] * 7 + ["900", "900", "32", "5"], shown.stderr


def test_make_knows_every_target_that_is_named() -> None:
    targets = set(re.findall(r"`?make ([a-z][a-z-]+)", README)) - {"every", "it"}
    assert {"demo", "test", "check"} <= targets
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0, target


def test_the_picture_is_there_and_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
