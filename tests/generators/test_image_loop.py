"""Does a killed training of pictures end as one that was not killed, and does it bear what machines do to it?"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generators.base import SILENT, GeneratorError
from generators.checkpoints import keep, recall
from generators.image._loop import Hand, Look, Rules, Trained, device_of, grid, train
from generators.image._loop_state import STATE
from generators.image._pictures import fingerprint
from generators.image.gan import GAN
from tests.conftest import ROOT
from tests.generators.pictures import shapes

DATA = {"pixels": torch.arange(24 * 6, dtype=torch.uint8).reshape(24, 6), "label": torch.arange(24)}


class Toy:
    """A noisy autoencoder with dropout and a running mean, whose looks count themselves."""

    averaged = ("net",)

    def __init__(self, seed: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 6))
        self.parts: dict[str, nn.Module] = {"net": net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {"net": torch.optim.Adam(net.parameters(), 1e-2)}
        self.looks: list[float] = []
        self.batches: list[int] = []
        self.rows: list[int] = []
        self.stop_at, self.full_above, self.grid = 0, 0, None
        self.dtypes: set[torch.dtype] = set()
        self.poison = False

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        x = batch["pixels"].float() / 255
        noise = hand.randn(*x.shape)
        if self.full_above and len(x) > self.full_above:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.batches.append(len(x))
        self.rows += batch["label"].tolist()
        with hand.autocast():
            made = self.parts["net"](x + noise)
        self.dtypes.add(made.dtype)
        loss = F.mse_loss(made.float(), x) * (float("nan") if self.poison else 1.0)
        hand.update("net", loss)
        return {"loss": loss.detach()}

    def look(self, step: int, hand: Hand) -> Look:
        self.looks.append(step + float(hand.randn(1)))
        return Look({"seen": float(step)}, stop=step == self.stop_at, grid=self.grid)

    def memory(self) -> dict[str, Any]:
        return {"looks": self.looks}

    def recall(self, memory: dict[str, Any]) -> None:
        self.looks = memory["looks"]


class Kill(Exception):
    pass


class KillAt:
    """Ends the training when it reports this step."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.seen: list[tuple[int, dict[str, float]]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.seen.append((done, figures))
        if done == self.step:
            raise Kill


def rules(**over: Any) -> Rules:
    return Rules(**({"steps": 12, "batch_size": 8, "device": "cpu", "report_every": 1, "checkpoint_seconds": 0.0} | over))


def run(toy: Toy, how: Rules | None = None, folder: Path | None = None, progress: Any = SILENT, **over: Any) -> Trained:
    return train(
        toy, DATA, how or rules(), **({"seed": 3, "progress": progress, "checkpoint": folder, "fingerprint": "a"} | over)
    )


def state(toy: Toy, done: Trained) -> dict[str, Any]:
    optimizer = toy.optimizers["net"].state_dict()["state"]
    moments = {f"{i}.{k}": v for i, one in optimizer.items() for k, v in one.items()}
    averages = {f"average.{k}": v for k, v in done.average["net"].state_dict().items()}
    return dict(toy.parts["net"].state_dict()) | averages | moments


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(b[name])), name


@pytest.mark.parametrize("killed", [1, 5, 11])
def test_a_killed_training_ends_bit_for_bit_as_an_uninterrupted_one(killed: int, tmp_path: Path) -> None:
    whole, resumed = Toy(), Toy(seed=9)
    wanted = run(whole, rules(look_every=4))
    with pytest.raises(Kill):
        run(Toy(), rules(look_every=4), tmp_path, KillAt(killed))
    assert killed == 1 or (tmp_path / STATE).is_file()
    if killed == 1:
        resumed = Toy()  # nothing was written: it starts anew
    watched = KillAt(-1)
    done = run(resumed, rules(look_every=4), tmp_path, watched)
    assert watched.seen[0][0] == killed  # the step that was reported but not written is made again
    assert done.steps == 12 and resumed.looks == whole.looks and len(whole.looks) == 3
    assert_same(state(resumed, done), state(whole, wanted))


def test_training_moves_weights_and_the_average_follows_behind() -> None:
    toy = Toy()
    start = {k: v.clone() for k, v in toy.parts["net"].state_dict().items()}
    done = run(toy)
    average = done.average["net"].state_dict()
    for name in ("0.weight", "3.bias"):
        moved, followed = toy.parts["net"].state_dict()[name] - start[name], average[name] - start[name]
        assert 0 < followed.abs().sum() < moved.abs().sum()
    assert not done.average["net"].training
    torch.testing.assert_close(average["1.running_mean"], toy.parts["net"].state_dict()["1.running_mean"])


def test_a_full_memory_halves_the_batch_and_rewinds_the_random_streams() -> None:
    full, small = Toy(), Toy()
    full.full_above = 5
    done = run(full)
    assert done.batch_size == 4 and set(full.batches) == {4} and len(full.batches) == 12
    assert_same(state(full, done), state(small, run(small, rules(batch_size=4))))


def test_the_halved_batch_is_remembered_by_a_resumed_training(tmp_path: Path) -> None:
    first, second = Toy(), Toy()
    first.full_above = 5
    with pytest.raises(Kill):
        run(first, folder=tmp_path, progress=KillAt(4))
    assert run(second, folder=tmp_path).batch_size == 4 and set(second.batches) == {4}


def test_as_many_pictures_a_step_as_before_where_the_number_of_processes_is_another(tmp_path: Path) -> None:
    with pytest.raises(Kill):
        run(Toy(), folder=tmp_path, progress=KillAt(4))
    of_two = recall(tmp_path / STATE)
    keep(tmp_path / STATE, of_two | {"streams": of_two["streams"] * 2, "batch_size": 4})
    toy = Toy()
    assert run(toy, folder=tmp_path).batch_size == 8 and set(toy.batches) == {8} and len(toy.batches) == 9


def test_one_picture_that_does_not_fit_is_one_sentence() -> None:
    toy = Toy()

    def step(batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    toy.step = step  # type: ignore[method-assign]
    with pytest.raises(GeneratorError, match="does not fit the GPU's memory"):
        run(toy)


def test_a_stop_ends_the_training_and_is_remembered(tmp_path: Path) -> None:
    toy, again = Toy(), Toy()
    toy.stop_at = 4
    done = run(toy, rules(look_every=2), tmp_path)
    assert done.steps == 4 and len(toy.batches) == 4
    repeated = run(again, rules(look_every=2), tmp_path)
    assert repeated.steps == 4 and again.batches == [] and again.looks == toy.looks
    assert_same(state(again, repeated), state(toy, done))


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path: Path) -> None:
    run(Toy(), rules(steps=6), tmp_path)
    same, other = Toy(), Toy()
    run(same, rules(steps=6), tmp_path)
    run(other, rules(steps=6), tmp_path, fingerprint="b")
    assert len(same.batches) == 0 and len(other.batches) == 6


def test_the_fingerprint_is_of_pictures_settings_and_seed_alone() -> None:
    family = GAN(steps=5)
    own = fingerprint(shapes(), family, 0)
    assert own == fingerprint(shapes(), replace(family, device="cpu", checkpoint_seconds=1.0), 0)
    others = [fingerprint(shapes(seed=1), family, 0), fingerprint(shapes(), replace(family, steps=6), 0)]
    assert len({own, *others, fingerprint(shapes(), family, 1)}) == 4


def test_global_randomness_is_left_alone_and_does_not_matter() -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    first, second = Toy(), Toy()
    a = run(first)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])
    torch.rand(7)
    assert_same(state(first, a), state(second, run(second)))
    other = Toy()
    assert not torch.equal(run(other, seed=4).average["net"][0].weight, a.average["net"][0].weight)


def test_rows_are_drawn_by_their_weights() -> None:
    seen: list[Tensor] = []
    toy = Toy()

    def step(batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        seen.append(batch["label"])
        return {}

    toy.step = step  # type: ignore[method-assign]
    weights = torch.zeros(24)
    weights[[2, 5]] = torch.tensor([3.0, 1.0])
    run(toy, rules(steps=200), weights=weights)
    labels = torch.cat(seen)
    assert set(labels.tolist()) == {2, 5} and 0.7 < float((labels == 2).float().mean()) < 0.8


def test_a_loss_that_is_no_number_is_refused_and_never_written(tmp_path: Path) -> None:
    toy = Toy()
    toy.poison = True
    with pytest.raises(GeneratorError, match="the loss loss is no number any more at step 1"):
        run(toy, rules(report_every=100), tmp_path)
    assert not (tmp_path / STATE).exists()


def test_grids_lie_beside_the_checkpoint(tmp_path: Path) -> None:
    from data.images import decode

    toy = Toy()
    pixels = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4, 1)
    toy.grid = grid(pixels, columns=3, gap=1)
    run(toy, rules(look_every=5), tmp_path)
    found = sorted(path.name for path in (tmp_path / "grids").iterdir())
    assert found == ["000005.png", "000010.png", "000012.png"]
    shown = decode((tmp_path / "grids/000012.png").read_bytes())
    assert shown.shape == (9, 14, 1) and (shown[4] == 255).all()
    np.testing.assert_array_equal(shown[5:9, 5:9], pixels[4])


def test_two_precisions_in_one_process() -> None:
    half, whole = Toy(), Toy()
    run(half, rules(precision="bf16"))
    run(whole, rules(precision="no"))
    assert half.dtypes == {torch.bfloat16} and whole.dtypes == {torch.float32}
    assert half.parts["net"][0].weight.dtype == torch.float32


@pytest.mark.parametrize("device", ["cuda", "nonsense"])
def test_a_device_that_is_not_there_is_one_sentence(device: str) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(GeneratorError, match="use"):
        device_of(device)


PAIR = """
import sys, torch
from pathlib import Path
from tests.generators.test_image_loop import Toy, rules, run

def trained(steps, state=None):
    toy = Toy()
    toy.parts["net"][1] = torch.nn.Identity()  # each process would have its own running mean
    toy.optimizers["net"] = torch.optim.SGD(toy.parts["net"].parameters(), 0.1)
    done = run(toy, rules(steps=steps), state)
    return [toy.parts["net"].state_dict(), toy.rows, done.average["net"].state_dict()]

folder = Path(sys.argv[1])
whole, _, resumed = trained(6), trained(3, folder / "state"), trained(6, folder / "state")
torch.save([whole, resumed], folder / f"{sys.argv[2]}.pt")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def together(code: str, folder: Path) -> list[int]:
    """Two processes that train one network, told the folder and their rank; how each ended."""
    port = str(20_000 + os.getpid() % 20_000)
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    started = []
    for rank in ("0", "1"):
        env = os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen([sys.executable, "-c", code, str(folder), rank], env=env, cwd=ROOT))
    try:
        return [process.wait(120) for process in started]
    finally:
        for process in started:
            process.kill()


def test_two_processes_train_one_network_on_different_rows_and_resume(tmp_path: Path) -> None:
    assert together(PAIR, tmp_path) == [0, 0]
    for rank in (0, 1):
        (weights, rows, average), (again, left, followed) = torch.load(tmp_path / f"{rank}.pt")
        assert len(rows) == 6 * 4 and left == rows[3 * 4 :]
        assert_same(again, weights)
        assert_same(followed, average)
    (first, of_first, _), (second, of_second, _) = (torch.load(tmp_path / f"{rank}.pt")[0] for rank in (0, 1))
    assert of_first != of_second
    assert_same(first, second)


def test_processes_that_see_different_checkpoints_say_so_and_do_not_wait_for_each_other(tmp_path: Path) -> None:
    assert together(APART, tmp_path) == [0, 0]


APART = (
    PAIR.partition("whole, _, resumed")[0]
    + """
from generators.base import GeneratorError
trained(3, folder / "state")
if sys.argv[2] == "0":
    (folder / "state").rename(folder / "mine")
torch.distributed.barrier()
try:
    trained(6, folder / ("mine" if sys.argv[2] == "0" else "state"))
except GeneratorError as error:
    assert "see different checkpoints" in str(error)
else:
    raise AssertionError("they trained on")
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""
)
