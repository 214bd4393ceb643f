"""Are the bytes of many rows the same from a Ray cluster of two nodes, even where one of them dies at work?"""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from data.errors import DataError
from flows import cluster
from flows.drawer import Drawer, Kit, Piece, Place
from flows.run import Run
from flows.shard import Draw
from flows.stages import STEPS, perform
from flows.stages.read import fingerprint
from tests.conftest import mixed_table
from tests.flows.test_cli import cli, refused
from tests.flows.test_many import prints

SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fitted runs on rows with ids, `plain`, `slow` and `deadly`; where they lie."""
    from flows.begin import loaded

    home = tmp_path_factory.mktemp("cluster")
    pq.write_table(mixed_table(), home / "mixed.parquet")
    for name, family in (("plain", "bootstrap"), ("slow", "tests.flows.stubs:Slow"), ("deadly", "tests.flows.stubs:Deadly")):
        (home / f"{name}.yaml").write_text(
            f"name: {name}\ndata: {{use: parquet, path: '{home}/mixed.parquet'}}\ntarget: label\n"
            f"generator: {{use: '{family}'}}\n"
        )
        plan = loaded(home / f"{name}.yaml", [])
        run = Run.open(home / "runs", plan, fingerprint(plan))
        for stage in list(STEPS)[: list(STEPS).index("fit") + 1]:
            perform(run, stage)
    return home / "runs"


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes of one CPU each, which RAY_ADDRESS names."""
    pytest.importorskip("ray", reason="Ray is not installed; pip install -c constraints.txt -e '.[ray]' brings it")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Cluster(initialize_head=True, head_node_args={**SMALL, "ray_client_server_port": port})
    made.add_node(**SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
    made.shutdown()


def draw(runs: Path, name: str, out: Path, *more: object) -> Result:
    return cli("sample", name, "--rows", 3_001, "--shards", 3, "--out", out, "--runs", runs, *more)


def test_two_nodes_give_the_bytes_of_one_process(runs: Path, two_nodes: Any, tmp_path: Path) -> None:
    assert draw(runs, "plain", tmp_path / "here", "--workers", 1).exit_code == 0
    answer = draw(runs, "plain", tmp_path / "there", "--on", "ray")
    assert answer.exit_code == 0 and answer.stdout.strip() == str(tmp_path / "there"), answer.output
    assert prints(tmp_path / "here") == prints(tmp_path / "there")


def test_a_client_from_elsewhere_gets_the_same_bytes(runs: Path, two_nodes: Any, tmp_path: Path) -> None:
    """By ray://, as from a machine that is no node of the cluster."""
    port = two_nodes.head_node._ray_params.ray_client_server_port
    answer = draw(runs, "plain", tmp_path / "there", "--on", f"ray://127.0.0.1:{port}", "--workers", 1)
    assert answer.exit_code == 0 and answer.stdout.strip() == str(tmp_path / "there"), answer.output
    assert draw(runs, "plain", tmp_path / "here", "--workers", 1).exit_code == 0
    assert prints(tmp_path / "here") == prints(tmp_path / "there")


def test_what_a_worker_cannot_draw_is_said_and_leaves_nothing(runs: Path, two_nodes: Any, tmp_path: Path) -> None:
    refused(draw(runs, "plain", tmp_path / "a", "--on", "ray", "--workers", 1, "--where", "label=rar"), "rar")
    assert not list(tmp_path.iterdir())


def test_a_shard_that_ends_its_workers_is_given_up(
    runs: Path, two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TRIES", 1)
    answer = draw(runs, "deadly", tmp_path / "a", "--on", "ray", "--workers", 1)
    refused(answer, "the worker that drew shard 0 was lost", "memory")
    assert not list(tmp_path.iterdir())


def test_a_node_that_dies_at_work_costs_no_byte(
    runs: Path, two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second node is taken away, without a word to it, while workers on both are at work."""
    ready: list[tuple[Any, Any]] = []
    employ = cluster._Crew._employ

    def gone() -> None:
        two_nodes.remove_node(next(iter(two_nodes.worker_nodes)), allow_graceful=False)

    leaving = threading.Timer(0.5, gone)  # a shard takes some seconds

    def employed(crew: Any, worker: Any, shard: int | None) -> None:
        ready.append((worker, shard))
        for each in {1: (), 2: ready}.get(len(ready), ready[-1:]):  # nobody begins before both are there
            employ(crew, *each)
        if len(ready) == 2:
            leaving.start()

    monkeypatch.setattr(cluster._Crew, "_employ", employed)
    answer = draw(runs, "slow", tmp_path / "there", "--on", "ray")
    leaving.join()
    assert answer.exit_code == 0, answer.output
    assert "lost; it is drawn again" in answer.stderr and not two_nodes.worker_nodes
    assert draw(runs, "slow", tmp_path / "here", "--workers", 2).exit_code == 0
    assert prints(tmp_path / "here") == prints(tmp_path / "there")


def test_a_drawer_gives_a_file_piece_by_piece_and_begins_anew_where_it_is_asked(runs: Path) -> None:
    run = Run.find("slow", runs)
    kit = Kit.of(Draw(run.folder, 6_000, {}, 5, 2))
    assert not any(name.startswith("work") for name in kit.files), "the real rows stay where they are"
    drawer = Drawer(pickle.loads(pickle.dumps(kit)))
    assert drawer.open() == Place.here()
    whole = pieces(drawer, 1)
    assert len(whole) > 1 and whole[-1].last and sum(piece.rows for piece in whole) == 3_000
    assert drawer.piece(1).data[:4] == drawer.piece(0).data[:4] == b"PAR1"
    again = pieces(drawer, 1)
    assert b"".join(piece.data for piece in again) == b"".join(piece.data for piece in whole)
    assert pq.read_table(pa.BufferReader(b"".join(piece.data for piece in whole))).column("key").is_valid().to_pylist()[-1]


def pieces(drawer: Drawer, shard: int) -> list[Piece]:
    drawn = [drawer.piece(shard)]
    while not drawn[-1].last:
        drawn.append(drawer.piece(shard))
    return drawn


def test_a_worker_with_other_code_is_refused() -> None:
    crew: Any = object.__new__(cluster._Crew)
    crew.home = Place.here()
    crew._check(replace(crew.home, machine="elsewhere"))
    with pytest.raises(DataError, match=r"^elsewhere has numpy 1\.0 and this machine \d.*; install the same checkout"):
        crew._check(replace(crew.home, machine="elsewhere", versions={**crew.home.versions, "numpy": "1.0"}))
    with pytest.raises(DataError, match="our code 00000000"):
        crew._check(replace(crew.home, code="0" * 64))


def test_a_cluster_that_is_not_there_is_said(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused(draw(runs, "plain", tmp_path / "a", "--on", "cloud"), "--on cloud", "ray://HOST:PORT")
    refused(cli("sample", "plain", "--rows", 5, "--runs", runs, "--on", "ray"), "--on", "folder")
    if importlib.util.find_spec("ray"):
        refused(draw(runs, "plain", tmp_path / "a", "--on", f"ray://127.0.0.1:{port}"), f"ray://127.0.0.1:{port}", "refused")
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        refused(draw(runs, "plain", tmp_path / "a", "--on", "ray"), f"127.0.0.1:{port} cannot be reached")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(draw(runs, "plain", tmp_path / "a", "--on", "ray"), "not installed", "pip install -c constraints.txt -e '.[ray]'")
    assert not list(tmp_path.iterdir())


def test_a_cluster_that_is_gone_but_remembered_is_given_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.cluster import joined

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/ray_current_cluster").write_text(address)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    started = time.monotonic()
    with pytest.raises(DataError, match=f"the Ray cluster at {address}, which this machine remembers, does not answer"):
        with joined("ray"):
            pass
    assert time.monotonic() - started < 60
