"""What rows does Stable Diffusion train on, encoded once: pictures, what is masked of them, and what must not be forgotten?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from data.images import Pictures, fitted, fitted_mask
from generators.checkpoints import keep, recall
from generators.image._loop import writes
from generators.image._pictures import balanced
from generators.image._stable import LATENTS, Latent
from generators.image._surfaces import Surfaces
from generators.image._symmetry import symmetries, turned
from generators.image._windows import around, cut

if TYPE_CHECKING:
    from generators.image.finetune import FineTune

Array = np.ndarray
#: Of a pixel outside the mask against one inside, in the term on the whole object.
SOFT = 0.3


def cached(checkpoint: Path | None, fingerprint: str, make: object) -> tuple[dict[str, Tensor], Tensor]:
    """Rows and the chance of each: what `make()` gives, kept beside the checkpoint so that it is encoded once."""
    path = None if checkpoint is None else checkpoint / LATENTS
    value = None if path is None else recall(path)
    if value is not None and value["fingerprint"] == fingerprint:
        return value["rows"], value["chances"]
    assert callable(make)
    rows, chances = make()
    if path is not None and writes():
        keep(path, {"fingerprint": fingerprint, "rows": rows, "chances": chances})
    return rows, chances


def whole_rows(latent: Latent, train: Pictures, family: FineTune, *, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Every picture under every symmetry that the pictures have, and the prior: pictures of its text by the backbone as it
    came. See `Tune` for the rows; `shape` (n, 1, side, side) uint8 is what a ControlNet is shown."""
    turns = symmetries(train.pixels)
    pixels = np.concatenate([_turned(train.pixels, g) for g in turns])
    masks = np.concatenate([_turned(train.masks[..., None], g)[..., 0] for g in turns])
    big = np.stack([fitted(one, latent.side, "stretch") for one in pixels])
    x = latent.encode(big, family)
    label = torch.from_numpy(np.tile(train.labels, len(turns)))
    rows = {"x": x, "label": label, "weight": _weights(masks, x.shape[2], SOFT), "worth": torch.ones(len(x))}
    chances = balanced(label.numpy())
    chances /= chances.sum()
    if latent.control is not None:
        rows["shape"] = shapes(pixels, masks, latent.side, family.control_on)
    if family.prior_weight > 0 and family.prior_pictures > 0:
        more = _prior(latent, family, x, channels=train.channels, seed=seed)
        more |= (
            {"shape": torch.zeros(len(more["x"]), 1, latent.side, latent.side, dtype=torch.uint8)} if "shape" in rows else {}
        )
        rows = {name: torch.cat([value, more[name]]) for name, value in rows.items()}
        chances = torch.cat([chances, torch.full((family.prior_pictures,), 1.0 / family.prior_pictures)])
    return rows, chances


def inpaint_rows(
    latent: Latent, train: Pictures, surfaces: Surfaces, family: FineTune, *, least: int, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Windows around every defect under every symmetry of the good pictures, and as prior good windows to be mended.

    Rows as in `Tune`, with `hole` (n, 1, h, w) uint8 0 or 1 and `masked` (n, 4, h, w), the latents of the blanked window."""
    rng = np.random.default_rng(seed % 2**63)
    bad = train.take(np.flatnonzero((train.labels != surfaces.good) & train.masks.any(axis=(1, 2))))
    turns = symmetries(surfaces.pixels)
    parts = [
        _cut(_turned(p, g), _turned(m, g), latent.side, least)
        for g in turns
        for p, m in zip(bad.pixels, bad.masks, strict=True)
    ]
    labels = np.tile(bad.labels, len(turns))
    chances = balanced(labels)
    chances /= chances.sum()
    goods = min(family.prior_pictures, len(surfaces.pixels)) if family.prior_weight > 0 else 0
    which = rng.choice(len(surfaces.pixels), goods, replace=False)
    parts += [_cut(surfaces.pixels[i], surfaces.holes(1, rng)[0], latent.side, least) for i in which]
    pixels, holes = (np.stack(each) for each in zip(*parts, strict=True))
    x = latent.encode(pixels, family)
    rows = {
        "x": x, "masked": latent.encode(blanked(pixels, holes), family), "hole": small(holes, x.shape[2]).to(torch.uint8),
        "label": torch.cat([torch.from_numpy(labels), torch.full((goods,), latent.prior)]),
        "weight": _weights(holes, x.shape[2], SOFT * family.object_weight),
        "worth": torch.cat([torch.ones(len(labels)), torch.full((goods,), float(family.prior_weight))]),
    }  # fmt: skip
    if latent.control is not None:
        rows["shape"] = shapes(pixels, holes, latent.side, "mask")
    return rows, torch.cat([chances, torch.full((goods,), 1.0 / max(1, goods))])


def small(masks: Array, side: int) -> Tensor:
    """Masks at the size of latents: (n, s, s) bool -> (n, 1, side, side) bool."""
    return torch.from_numpy(np.stack([fitted_mask(one, side, "stretch") for one in masks]))[:, None]


def blanked(pixels: Array, holes: Array) -> Array:
    """Pictures with their holes in middle gray."""
    return np.asarray(np.where(holes[..., None], 128, pixels).astype(np.uint8))


def shapes(pixels: Array, masks: Array, side: int, on: str) -> Tensor:
    """What a ControlNet is shown: masks, or edges of the pictures: (n, 1, side, side) uint8."""
    marks = edges(pixels) if on == "edges" else masks
    return torch.from_numpy(np.stack([fitted_mask(one, side, "stretch") for one in marks]))[:, None].to(torch.uint8) * 255


def edges(pixels: Array) -> Array:
    """Where brightness steps stand out: (n, s, s, c) uint8 -> (n, s, s) bool.

    The gradient (Sobel) of the smoothed picture, above its own mean by one and a half of its deviation."""
    from scipy import ndimage

    made = []
    for one in pixels:
        soft = ndimage.gaussian_filter(one.mean(axis=2, dtype=np.float64), 0.7)
        step = np.hypot(ndimage.sobel(soft, axis=0), ndimage.sobel(soft, axis=1))
        made.append(step > max(step.mean() + 1.5 * step.std(), 1.0))
    return np.stack(made)


def _prior(latent: Latent, family: FineTune, like: Tensor, *, channels: int, seed: int) -> dict[str, Tensor]:
    n = family.prior_pictures
    drawn = latent.draw(torch.full((n,), latent.prior), {}, seed=seed, family=family, channels=channels, guidance=1.0)
    x = latent.encode(drawn, family)
    weight = torch.full((n, 1, *like.shape[2:]), 255, dtype=torch.uint8)
    worth = torch.full((n,), float(family.prior_weight))
    return {"x": x, "label": torch.full((n,), latent.prior), "weight": weight, "worth": worth}


def _weights(masks: Array, side: int, soft: float) -> Tensor:
    """255 inside the mask, `soft` of it outside; all alike where nothing is marked: (n, 1, side, side) uint8."""
    inside = small(masks, side)
    marked = inside.flatten(1).any(1)[:, None, None, None]
    return torch.where(inside | ~marked, 255, max(1, round(255 * soft))).to(torch.uint8)


def _turned(pixels: Array, which: int) -> Array:
    """(..., s, s[, c]) under a symmetry; the axes of the picture are the two before the channels, or the last of a mask."""
    picture = torch.from_numpy(np.ascontiguousarray(pixels))
    if picture.dtype == torch.bool and picture.ndim == 2:
        return turned(picture, which).numpy()
    return np.ascontiguousarray(turned(picture.movedim(-1, 0), which).movedim(0, -1).numpy())


def _cut(pixels: Array, mask: Array, side: int, least: int) -> tuple[Array, Array]:
    return cut(pixels, mask, around(mask, least), side)
