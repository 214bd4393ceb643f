"""What does the project's own small denoiser need to paint defects where no pretrained backbone is at hand?

It is trained on the windows of the training pictures: first to mend holes in their surfaces, then on the defects of all
classes at once. Without masks or good pictures it learns whole pictures instead: the hole is then the whole window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data.images import Pictures, fitted, fitted_mask
from generators import _stored as stored
from generators.base import GeneratorError, Progress, unseal
from generators.checkpoints import keep, recall
from generators.image import _loop
from generators.image._inpaint import LOOKS, Denoiser, Paint, Weights, paint, rows, spread
from generators.image._pictures import Facts, balanced, to_bytes, to_unit
from generators.image._symmetry import symmetries
from generators.image._windows import STEP, around, cut, working_side

if TYPE_CHECKING:
    from generators.image.finetune import FineTune

Array = np.ndarray
WEIGHTS = "denoiser.pt"
#: Holes drawn once for a training.
HOLES = 512
#: Most pictures that the spread of defects is taken from.
SPREADS = 256
#: Updates on surfaces; on defects at least, for each picture of a defect more, and at most.
PRETRAIN_STEPS = 800
STEPS, EACH, MOST = 1500, 25, 4000
#: Windows a step on a CPU, and on a GPU, where the loop halves it until it fits.
BATCH, BATCH_GPU = 8, 64
RATE = 1e-3


class Own:
    """The small denoiser: `side` is what it works at, `whole` whether it draws whole pictures.

    channels: of what it paints, the mask included where whole pictures come with one; classes: how many."""

    def __init__(self, net: Denoiser, side: int, channels: int, classes: int, *, whole: bool) -> None:
        self.net, self.side, self.channels, self.classes, self.whole = net, side, channels, classes, whole

    @classmethod
    def fit(
        cls, train: Pictures, facts: Facts, family: FineTune, holes: Array, *,
        seed: int, progress: Progress, checkpoint: Path | None, fingerprint: str,
    ) -> Own:  # fmt: skip
        """Two trainings. holes: (p, size, size) bool, drawn from the masks' distribution; empty for whole pictures."""
        whole = not len(holes)
        size, classes = facts.size, len(facts.classes)
        side = min(family.window, size) // STEP * STEP if whole else working_side(holes, size, family.window)
        pixels, masks = train.pixels, train.masks
        if whole:
            pixels, masks = _whole(train, max(STEP, side))
        made = cls._blank(family.width, max(STEP, side), pixels.shape[3], classes, whole=whole, seed=seed)
        made.net.scale.fill_(_spread(pixels, masks, made.side, whole=whole))
        if family.backbone is not None:
            made._begin(Path(family.backbone).expanduser())
        # Whole pictures are not shifted: the border that a shift brings in would be drawn too.
        data = rows(pixels, masks, train.labels, made.side, pad=0 if whole else made.side // 8)
        windows = _windows(holes, made.side) if not whole else torch.zeros(1, 1, made.side, made.side, dtype=torch.bool)
        good = -1 if facts.normal is None else facts.classes.index(facts.normal)
        how: dict[str, Any] = {
            "side": made.side, "good": good, "any_label": classes, "whole": whole, "turns": _turns(train, facts),
            "weights": Weights(family.defect_weight, family.object_weight, family.prior_weight),
            "show": None if whole or not family.look_every else made._show(train, holes, good),
        }  # fmt: skip
        told: dict[str, Any] = {"seed": seed, "progress": progress, "fingerprint": fingerprint}
        made._pretrain(data, windows, family, how, checkpoint, told)
        made._learn(data, windows, family, how, checkpoint, told, _chances(train.labels, good, family))
        return made

    def paint(self, pixels: Array, holes: Array, labels: Array, *, seed: int, family: FineTune) -> Array:
        """Fill the holes of windows: (n, side, side, c) uint8, (n, side, side) bool, (n,) -> as pixels."""
        return to_bytes(self._run(to_unit(torch.from_numpy(pixels)), torch.from_numpy(holes)[:, None], labels, seed, family))

    def draw(self, labels: Array, *, seed: int, family: FineTune) -> Array:
        """Whole pictures, with the mask as last channel where it was learned: (n, side, side, channels) uint8."""
        shape = (len(labels), self.channels, self.side, self.side)
        return to_bytes(
            self._run(torch.zeros(shape), torch.ones(len(labels), 1, *shape[2:], dtype=torch.bool), labels, seed, family)
        )

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights; what `load` must be told."""
        torch.save(self.net.state_dict(), folder / WEIGHTS)
        return {"side": self.side, "channels": self.channels, "classes": self.classes, "whole": self.whole}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any], family: FineTune) -> Own:
        """Read back what `save` wrote."""
        made = cls._blank(family.width, facts["side"], facts["channels"], facts["classes"], whole=facts["whole"], seed=0)
        made.net.load_state_dict(stored.weights(folder / WEIGHTS))
        return made

    @classmethod
    def _blank(cls, width: int, side: int, channels: int, classes: int, *, whole: bool, seed: int) -> Own:
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            net = Denoiser(channels, width, 2 * classes + 1)
        return cls(net.eval(), side, channels, classes, whole=whole)

    def _begin(self, folder: Path) -> None:
        """Take over what a saved denoiser knows; what it was told of other classes is not taken.

        Raises GeneratorError when the folder holds another family's model, or a denoiser of another shape."""
        if unseal(folder)["family"] != "generators.image.finetune:FineTune" or not (folder / WEIGHTS).is_file():
            raise GeneratorError(f"backbone: {folder} holds no denoiser of image.finetune; give one, or a diffusers checkpoint")
        known = stored.weights(folder / WEIGHTS)
        own = self.net.state_dict()
        if known["net.class_embedding.weight"].shape != own["net.class_embedding.weight"].shape:
            known["net.class_embedding.weight"] = own["net.class_embedding.weight"]
        if any(value.shape != own[name].shape for name, value in known.items() if name in own) or set(known) != set(own):
            raise GeneratorError(f"backbone: the denoiser in {folder} has another width or other colours; set the same width")
        self.net.load_state_dict(known)

    def _run(self, shown: Tensor, holes: Tensor, labels: Array, seed: int, family: FineTune) -> Tensor:
        device = _loop.device_of(family.device)
        self.net.to(device).eval()
        return paint(
            self.net, shown, holes, torch.from_numpy(labels.astype(np.int64)), any_label=self.classes, seed=seed,
            evaluations=family.evaluations, guidance=family.guidance, device=device,
        ).cpu()  # fmt: skip

    def _pretrain(
        self, data: dict[str, Tensor], holes: Tensor, family: FineTune, how: dict[str, Any], checkpoint: Path | None,
        told: dict[str, Any],
    ) -> None:  # fmt: skip
        """Learn the surfaces, unless a killed training had already done so."""
        usual = 0 if family.backbone is not None else PRETRAIN_STEPS if family.steps is None else family.steps
        steps = usual if family.pretrain_steps is None else family.pretrain_steps
        if self.whole or not steps:
            return
        kept = None if checkpoint is None else checkpoint / "surfaces.pt"
        value = None if kept is None else recall(kept)
        if value is not None and value["fingerprint"] == told["fingerprint"]:
            self.net.load_state_dict(value["net"])
            return
        self._train(
            data,
            holes,
            family,
            {**how, "steps": steps, "defects": False, "show": None},
            checkpoint and checkpoint / "surfaces",
            told,
        )
        if kept is not None and _loop.writes():
            keep(kept, {"fingerprint": told["fingerprint"], "net": self.net.state_dict()})

    def _learn(
        self, data: dict[str, Tensor], holes: Tensor, family: FineTune, how: dict[str, Any], checkpoint: Path | None,
        told: dict[str, Any], chances: Tensor,
    ) -> None:  # fmt: skip
        bad = int((data["label"] != how["good"]).sum())
        usual = min(MOST, STEPS + EACH * bad) + (PRETRAIN_STEPS if self.whole else 0)
        how = {**how, "steps": usual if family.steps is None else family.steps, "defects": True}
        self._train(data, holes, family, how, checkpoint, {**told, "weights": chances})

    def _train(
        self, data: dict[str, Tensor], holes: Tensor, family: FineTune, how: dict[str, Any], checkpoint: Path | None,
        told: dict[str, Any],
    ) -> None:  # fmt: skip
        rate = (RATE if family.lr is None else family.lr) * (0.6 if how["defects"] else 1.0)
        usual = BATCH_GPU if _loop.device_of(family.device).type == "cuda" else BATCH
        rules = _loop.Rules(
            steps=how["steps"], batch_size=family.batch_size or usual, ema=family.ema, precision=family.precision,
            device=family.device, look_every=family.look_every, checkpoint_seconds=family.checkpoint_seconds,
        )  # fmt: skip
        done = _loop.train(Paint(self.net, holes, lr=rate, **how), data, rules, checkpoint=checkpoint, **told)
        self.net.load_state_dict(done.average["net"].state_dict())
        self.net.cpu().eval()

    def _show(self, train: Pictures, holes: Array, good: int) -> dict[str, Tensor]:
        """Good windows, holes and classes for the grids that are kept while it learns."""
        goods = np.flatnonzero(train.labels == good)[:LOOKS]
        bad = [k for k in range(self.classes) if k != good and (train.labels == k).any()] or [good]
        cuts = [cut(train.pixels[i], hole, around(hole, self.side), self.side) for i, hole in zip(goods, holes, strict=False)]
        labels = torch.tensor([bad[i % len(bad)] for i in range(len(cuts))])
        pixels, marks = (torch.from_numpy(np.stack(part)) for part in zip(*cuts, strict=True))
        return {"pixels": pixels, "holes": marks[:, None], "labels": labels}


def _whole(train: Pictures, side: int) -> tuple[Array, Array]:
    """The pictures at the network's side, with their masks as one more channel where any is known."""
    pixels = np.stack([fitted(one, side, "stretch") for one in train.pixels])
    masks = np.stack([fitted_mask(one, side, "stretch") for one in train.masks])
    if train.masked.any():
        pixels = np.concatenate([pixels, masks[..., None].astype(np.uint8) * 255], axis=3)
    return pixels, np.zeros_like(masks)


def _spread(pixels: Array, masks: Array, side: int, *, whole: bool) -> float:
    """How much the defects differ from what lies around them; whole pictures, from middle gray."""
    which = np.arange(len(pixels)) if whole else np.flatnonzero(masks.any(axis=(1, 2)))
    which = which[:: -(-len(which) // SPREADS)]
    if whole:
        return spread(to_unit(torch.from_numpy(pixels[which])), torch.ones(len(which), 1, side, side, dtype=torch.bool))
    cuts = [cut(pixels[i], masks[i], around(masks[i], side), side) for i in which]
    shown, marks = (torch.from_numpy(np.stack(part)) for part in zip(*cuts, strict=True))
    return spread(to_unit(shown), marks[:, None])


def _windows(holes: Array, side: int) -> Tensor:
    """(p, size, size) -> (p, 1, side, side) bool, each hole as its window shows it."""
    cuts = [cut(hole[:, :, None].astype(np.uint8), hole, around(hole, side), side)[1] for hole in holes]
    return torch.from_numpy(np.stack(cuts))[:, None]


def _turns(train: Pictures, facts: Facts) -> tuple[int, ...]:
    """Symmetries of the good pictures, or of all where none are good."""
    goods = train.of(facts.normal) if facts.normal is not None else train
    return symmetries(goods.pixels if len(goods) else train.pixels)


def _chances(labels: Array, good: int, family: FineTune) -> Tensor:
    """Chance of each row: the good pictures together `prior_weight` against all defects, these class by class alike."""
    chances = balanced(labels)
    bad = torch.from_numpy(labels != good)
    if good < 0 or not bad.any() or bad.all():
        return chances
    chances[bad] /= chances[bad].sum()
    chances[~bad] *= family.prior_weight / chances[~bad].sum()
    return chances
