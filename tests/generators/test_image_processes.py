"""Do two processes learn one model of pictures, of which the first alone leaves anything behind?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generators.image import _loop
from generators.image.diffusion import Diffusion
from generators.image.finetune import FineTune
from generators.image.gan import GAN
from generators.image.vae import VAE
from tests.generators.pictures import shapes
from tests.generators.test_image_loop import Kill, Toy, rules, run, together

STEPS = 20
TINY: Mapping[str, Any] = {
    "vae": VAE(steps=STEPS, batch_size=8, width=8, latent=4, look_every=10, device="cpu"),
    "gan": GAN(steps=STEPS, batch_size=8, width=8, depth=1, latent=8, look_every=10, device="cpu"),
    "diffusion": Diffusion(steps=STEPS, batch_size=8, width=8, look_every=10, device="cpu"),
    "finetune": FineTune(steps=STEPS, pretrain_steps=6, batch_size=8, width=8, look_every=10, device="cpu"),
}
#: What falls while each learns.
LOSSES = {"vae": "error", "diffusion": "loss", "finetune": "loss"}
#: Pictures for two that are shown three times as often as the others.
WEIGHTS = torch.tensor([3.0, 1.0]).repeat(12)


class Curve:
    """Keeps what a fit tells."""

    def __init__(self) -> None:
        self.told: list[dict[str, float]] = []

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.told.append(figures)


def fitted(name: str, folder: Path, curve: Curve | None = None, every: float = 1e9) -> str:
    """sha256 of the model that this process ends with. every: seconds between two checkpoints."""
    family = dataclasses.replace(TINY[name], checkpoint_seconds=every)
    model = family.fit(shapes(), seed=3, progress=curve or Curve(), checkpoint=folder)
    held = {"vae": "pair_", "gan": "maker_", "diffusion": "net_", "finetune": "way_"}[name]
    values = getattr(getattr(model, held), "net", getattr(model, held)).state_dict()
    return hashlib.sha256(b"".join(values[key].contiguous().numpy().tobytes() for key in sorted(values))).hexdigest()


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    """Fits in this block end in the middle, in all processes."""
    calls, real = 0, _loop._step

    def counted(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Kill
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loop, "_step", counted)
        yield


def shown(steps: int) -> list[int]:
    """How often this process was shown each of 24 pictures."""
    toy = Toy()
    toy.parts["net"][1] = torch.nn.Identity()
    run(toy, rules(steps=steps, batch_size=8, report_every=steps), weights=WEIGHTS)
    seen = Counter(toy.rows)
    return [seen[i] for i in range(24)]


def work(folder: Path, rank: str) -> None:
    """What each of two processes does: every family twice, the second time in two parts."""
    found: dict[str, Any] = {"shown": shown(300)}
    for name in TINY:
        curve = Curve()
        # A folder of its own, as there is no checkpoint yet: what is in it tells who writes.
        whole = fitted(name, folder / f"{name}-{rank}", curve)
        with pytest.raises(Kill), killed_at(14):
            fitted(name, folder / f"{name}-killed", every=0.0)
        resumed = fitted(name, folder / f"{name}-killed", every=0.0)
        found[name] = {"whole": whole, "resumed": resumed, "told": curve.told}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


CODE = """
import sys
from pathlib import Path
from tests.generators.test_image_processes import work
work(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The folder in which two processes worked, and what each found."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("two")
    assert together(CODE, folder) == [0, 0]
    first, second = (json.loads((folder / f"{rank}.json").read_text()) for rank in "01")
    return folder, first, second


@pytest.mark.parametrize("name", TINY)
def test_both_end_with_one_model_and_a_killed_fit_goes_on_to_the_same_bits(name: str, two: tuple[Path, Any, Any]) -> None:
    _, first, second = two
    hashes = {one[name][which] for one in (first, second) for which in ("whole", "resumed")}
    assert len(hashes) == 1


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_falls(name: str, two: tuple[Path, Any, Any]) -> None:
    losses = [told[LOSSES[name]] for told in two[1][name]["told"] if LOSSES[name] in told]
    assert losses[-1] < 0.9 * losses[-2]


@pytest.mark.parametrize("name", TINY)
def test_the_first_alone_writes_and_tells(name: str, two: tuple[Path, Any, Any]) -> None:
    folder, first, second = two
    assert any(each.is_file() for each in (folder / f"{name}-0").rglob("*")) and not (folder / f"{name}-1").exists()
    assert (folder / f"{name}-killed/training.pt").is_file()
    assert len(first[name]["told"]) >= 2 and not [told for told in second[name]["told"] if "kept_step" not in told]


def test_one_process_and_two_are_shown_each_picture_equally_often(two: tuple[Path, Any, Any]) -> None:
    _, first, second = two
    together_ = np.array(first["shown"]) + second["shown"]
    alone, expected = np.array(shown(300)), 300 * 8 * (WEIGHTS / WEIGHTS.sum()).numpy()
    for seen in (together_, alone):
        assert seen.sum() == 300 * 8
        # 23 degrees of freedom: more than 60 comes once in 40,000 times.
        assert (((seen - expected) ** 2) / expected).sum() < 60
    assert first["shown"] != second["shown"]
