"""Does `accelerate launch` of a run make one fit with all its processes, and everything else with the first of them?"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data.errors import DataError, UserError
from flows import ranks
from flows.ranks import OtherError, Ranks
from flows.run import Run
from tests.conftest import ROOT
from tests.flows.test_pictures_walk import write_folder

PLAN = """
name: parts
data: {use: image_folder, path: parts, size: 32}
split: {reference: 0, holdout: 0.3}
generator: {use: image.vae, steps: 30, width: 8, latent: 8}
sample: {mix: balanced}
gate: {draws: 20, detect: 0.5, utility: "off"}
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a plan."""
    pytest.importorskip("accelerate")
    desk = tmp_path_factory.mktemp("ranks")
    write_folder(desk / "parts", {"good": 40, "dot": 24, "line": 24})
    (desk / "parts.yaml").write_text(PLAN)
    return desk


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def two(desk: Path, *arguments: str) -> list[tuple[int, str, str]]:
    """Both processes of a launch without a launcher: exit code, stdout and stderr of each."""
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "flows", *arguments], cwd=desk, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment() | told | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]  # fmt: skip
    try:
        said = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, *each) for process, each in zip(started, said, strict=True)]


def the_run(desk: Path) -> Run:
    (found,) = (desk / "runs/parts").iterdir()
    return Run(found)


def test_a_launch_makes_one_run_with_one_fit_of_two_processes_and_the_same_bytes_again(desk: Path) -> None:
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port"]
    done = subprocess.run(
        [*launch, str(free_port()), "--module", "flows", "run", "parts.yaml"],
        cwd=desk, env=environment(), capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    run = the_run(desk)
    verdict = json.loads((run.folder / "decision.json").read_text())["verdict"]
    assert done.returncode == (0 if verdict in ("PASS", "WARN") else 1), done.stderr  # a launcher knows two codes
    assert run.stages["fit"]["facts"]["processes"] == 2 and "image.vae, by 2 processes" in done.stderr
    assert len(re.findall(r" fit begins", (run.folder / "run.log").read_text())) == 1
    assert done.stdout.count(f"runs/parts/{run.id}/report.html") == 1 and done.stderr.count("judge ") == 1
    assert len(list((desk / "published/parts").glob("v*")) + list((desk / "published/parts/quarantine").glob("*"))) == 1

    model = run.stages["fit"]["facts"]["model_sha256"]
    weights = (run.folder / "model/weights.pt").read_bytes()
    shutil.rmtree(run.folder)
    (first, out, _), (second, quiet, silent) = two(desk, "run", "parts.yaml", "--quiet")
    again = the_run(desk)
    assert first == second and out and not quiet and not silent
    assert again.stages["fit"]["facts"]["model_sha256"] == model
    assert (again.folder / "model/weights.pt").read_bytes() == weights


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "parts.yaml", "-o", "generator={use: image.procedural}"), ("'image.procedural' learns in one", "image.vae")),
        (("tune", "parts.yaml"), ("`counterpoise tune` is the work of one process, and 2 were started",)),
    ],
)
def test_what_one_process_does_is_refused_in_one_sentence_by_both(
    desk: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (first, _, said), (second, *nothing) = two(desk, *arguments)
    assert first == second == 2 and nothing == ["", ""]
    assert said.count("\n") == 1 and all(word in said for word in words)


@contextmanager
def pair(monkeypatch: pytest.MonkeyPatch, fit: Callable[[Path], None]) -> Iterator[tuple[Ranks, list[int], threading.Thread]]:
    """The first of two processes, the exit code of the second as soon as there is one, and the thread that it is here."""
    from torch.distributed import HashStore

    monkeypatch.setattr(ranks, "_fit", fit)
    monkeypatch.setattr(ranks, "EVERY", 0.01)
    monkeypatch.setattr(ranks, "AFTER", 0.0)
    store, codes = HashStore(), []
    first, second = Ranks(0, 2, store), Ranks(1, 2, store)
    other = threading.Thread(target=lambda: codes.append(second.follow()))
    other.start()
    yield first, codes, other
    other.join(10)
    assert not other.is_alive()


def test_the_second_takes_part_in_each_fit_and_ends_as_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    joined: list[Path] = []
    with pair(monkeypatch, joined.append) as (first, codes, _):
        for name in ("a", "b"):
            with first.fitting(tmp_path / name):
                while joined[-1:] != [tmp_path / name]:
                    time.sleep(0.01)
        first.code = 3
        first.dismiss()
    assert codes == [3] and joined == [tmp_path / "a", tmp_path / "b"]


def test_the_first_is_refused_and_the_second_says_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = threading.Event()

    def fit(folder: Path) -> None:
        assert broken.wait(10)
        raise RuntimeError("Connection closed by peer")

    with pair(monkeypatch, fit) as (first, codes, _):
        with pytest.raises(DataError, match="^no good$"), first.fitting(tmp_path):
            raise DataError("no good")
        broken.set()
        first.code = 2
        first.dismiss()
    assert codes == [2] and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("4 pictures do not fit"), 2, r"^process 1 of 2: 4 pictures do not fit$"),
        (KeyError("x"), 1, r"^process 1 of 2: unexpected KeyError: 'x'; the full log is in .*\.log$"),
    ],
)
def test_what_is_wrong_with_the_second_is_said_by_the_first(
    error: Exception, code: int, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fit(folder: Path) -> None:
        raise error

    with pair(monkeypatch, fit) as (first, codes, _):
        with pytest.raises(OtherError, match=words) as caught, first.fitting(tmp_path):
            while not first.store.check([ranks.REFUSED]):
                time.sleep(0.01)
            raise RuntimeError("Connection closed by peer")
        first.code = caught.value.exit_code
        first.dismiss()
    assert codes == [code]


def test_the_second_ends_by_itself_where_the_first_never_hears_of_its_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fit(folder: Path) -> None:
        raise UserError("4 pictures do not fit")

    monkeypatch.setattr(ranks, "HEARD", 0.1)
    with pair(monkeypatch, fit) as (first, codes, other), first.fitting(tmp_path):
        other.join(10)
    assert codes == [2] and capsys.readouterr().err == "counterpoise: process 1 of 2: 4 pictures do not fit\n"


def test_the_second_does_not_wait_for_a_first_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    class Gone:
        def check(self, keys: list[str]) -> bool:
            raise RuntimeError("Connection reset by peer")

    store: Any = Gone()
    assert Ranks(1, 2, store).follow() == 1
    assert "the first process of this launch is gone" in capsys.readouterr().err


def test_a_process_that_does_not_hear_does_not_keep_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import HashStore

    monkeypatch.setattr(ranks, "HEARD", 0.1)
    first = Ranks(0, 2, HashStore(), code=4)
    began = time.monotonic()
    first.dismiss()
    assert time.monotonic() - began < 5 and first.store.get(ranks.END) == b"4"


def test_the_environment_tells_of_the_others_during_a_fit_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch.distributed import HashStore

    for name in ranks.TOLD:
        monkeypatch.delenv(name, raising=False)
    first = Ranks(0, 2, HashStore(), {"RANK": "0", "WORLD_SIZE": "2"})
    with first.fitting(tmp_path):
        assert os.environ["WORLD_SIZE"] == "2"
    assert not set(ranks.TOLD) & set(os.environ)
