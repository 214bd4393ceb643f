"""Does a training go on from the newest whole checkpoint, whatever became of the others?"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from data.dataset import Dataset
from generators.base import Generator, GeneratorError, table
from generators.checkpoints import BEFORE, keep, mend, recall, whole
from generators.tabular.flow import Flow
from generators.tabular.gan import GAN

#: Ways in which a file is damaged.
DAMAGES = {
    "cut": lambda held: held[: len(held) // 2],
    "empty": lambda held: b"",
    "tail lost": lambda held: held[:-1],
    "one byte of the weights": lambda held: (
        held[: len(held) // 2] + bytes([held[len(held) // 2] ^ 1]) + held[len(held) // 2 + 1 :]
    ),
    "zeros": lambda held: bytes(len(held)),
    "more": lambda held: held + b"x",
}


def damage(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, how: str) -> None:
    path = tmp_path / "deep" / "state.pt"
    for step in (1, 2, 3):
        keep(path, {"step": step, "weights": torch.full((50, 50), float(step))})
    assert recall(path)["step"] == 3
    damage(path, how)
    assert recall(path)["step"] == 2
    assert mend(tmp_path) == ["the checkpoint state.pt is damaged; the one before it is used"]
    assert whole(path) and recall(path)["step"] == 2 and mend(tmp_path) == []
    damage(path, how)
    assert "learned anew" in mend(tmp_path)[0]
    assert recall(path) is None and list(path.parent.iterdir()) == []


def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    keep(path, {"step": 1})
    path.replace(path.with_name(path.name + BEFORE))
    assert recall(path) == {"step": 1}
    assert mend(tmp_path) == []
    assert path.exists() and recall(path) == {"step": 1}


def test_saved_models_are_left_to_their_envelope(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/envelope.json").write_text("{}")
    torch.save({}, tmp_path / "model/weights.pt")
    assert mend(tmp_path) == []


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    keep(tmp_path / "state.pt", {"path": tmp_path})
    with pytest.raises(GeneratorError, match="holds more than weights and could run code"):
        recall(tmp_path / "state.pt")


def test_a_full_disk_is_told_as_one_and_keeps_the_last_state(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        keep(small / "state.pt", {"step": 1})
        with pytest.raises((OSError, RuntimeError)) as caught:
            keep(small / "state.pt", {"step": 2, "weights": torch.zeros(1000, 1000)})
        assert isinstance(caught.value, OSError) or isinstance(caught.value.__context__, OSError)
        assert recall(small / "state.pt") == {"step": 1}
        assert [path.name for path in small.iterdir()] == ["state.pt"]
    finally:
        subprocess.run(["umount", small], check=True)


class Stop:
    """Ends a training as it tells of itself for the `times`-th time."""

    def __init__(self, times: int) -> None:
        self.left = times

    def advance(self, *_: object, **figures: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "family", [GAN(epochs=30, checkpoint_seconds=0.0), Flow(epochs=20, checkpoint_seconds=0.0)], ids=lambda f: type(f).__name__
)
@pytest.mark.parametrize("how", ["cut", "one byte of the weights"])
def test_a_fit_goes_on_from_the_checkpoint_before(mixed: Dataset, tmp_path: Path, family: Generator, how: str) -> None:
    def rows(fitted: Generator) -> Any:
        return table(fitted.sample(20, seed=1), mixed.schema.arrow())

    whole_way, rest = Stop(1000), Stop(1000)
    undisturbed = rows(type(family)(**vars(family)).fit(mixed, seed=2, progress=whole_way))
    with pytest.raises(KeyboardInterrupt):
        type(family)(**vars(family)).fit(mixed, seed=2, checkpoint=tmp_path, progress=Stop(3))
    newest = next(tmp_path.glob("*.pt"))
    assert newest.with_name(newest.name + BEFORE).exists()
    damage(newest, how)
    assert rows(type(family)(**vars(family)).fit(mixed, seed=2, checkpoint=tmp_path, progress=rest)).equals(undisturbed)
    assert rest.left > whole_way.left
