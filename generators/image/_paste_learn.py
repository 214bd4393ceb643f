"""What would more patches of a defect look like? A GAN or a denoiser learns the crops around the masks, and draws new ones.

Crops of all defects are brought to one side, so that a small network learns them; their masks are one more channel. What it
draws is brought back to a side as the class's crops have them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.images import batch, box, pictures, schema
from generators.base import Progress
from generators.image._paste_edge import grew
from generators.image._patches import Patch, ring_of

Array = np.ndarray
#: Pixels a side of what is learned; how much wider than the mask a crop is.
SIDE, ROOM = 32, 1.6
#: Rounds of drawing before a class keeps its real patches.
ROUNDS = 3
#: Steps and width of the network unless they are set, and looks at its samples while it learns.
STEPS, WIDTH, LOOKS = {"gan": 1200, "diffusion": 600}, 16, 6
#: Of a drawn mask's area, against the class's own: below and above these factors it is no defect of the class.
SMALLEST, LARGEST = 0.5, 1.5


def more(
    patches: list[Patch], names: tuple[str, ...], kind: Literal["gan", "diffusion"], n: int, size: int, *,
    seed: int, progress: Progress, checkpoint: Path | None, **settings: Any,
) -> list[Patch]:  # fmt: skip
    """`n` drawn patches of each class that has real ones. names: of the labels; size: of the pictures; settings: of the
    family that learns. Of a class of which nothing usable is drawn there are the real patches."""
    labels = sorted({p.label for p in patches})
    crops = [_crop(p, size) for p in patches]
    steps = settings.get("steps") or STEPS[kind]
    given = {name: value for name, value in settings.items() if value is not None}
    family = _family(kind, {"width": WIDTH, "look_every": max(1, steps // LOOKS)} | given | {"steps": steps})
    train = _dataset([c[0] for c in crops], [c[1] for c in crops], [names[p.label] for p in patches], names)
    model = family.fit(train, seed=seed, progress=progress, checkpoint=checkpoint)
    out: list[Patch] = []
    for done, label in enumerate(labels):
        own = [(p, c) for p, c in zip(patches, crops, strict=True) if p.label == label]
        rng = np.random.default_rng([seed % 2**63, label])
        drawn: list[Patch] = []
        for part in range(ROUNDS):
            if len(drawn) < n:
                progress.advance(done * n + len(drawn), len(labels) * n, "drawn patch")
                table = pa.Table.from_batches(list(model.sample(n, where={"class": names[label]}, seed=seed + part)))
                drawn += _usable(pictures(Dataset(table, schema(names))), own, rng, size)
        out += drawn[:n] or [p for p, _ in own]
    return out


def weighed(real: list[Patch], drawn: list[Patch], share: float) -> list[Patch]:
    """Both, with trusts by which the real patches of a class are taken `share` of the time; without them where it is 0, and
    the real ones alone of a class that has no others or where it is 1."""
    out: list[Patch] = []
    for label in sorted({p.label for p in real}):
        own, others = ([p for p in side if p.label == label] for side in (real, drawn))
        for side, part in ((own, share), (others, 1 - share)):
            total = sum(p.trust for p in side)
            out += [replace(p, trust=p.trust * part / total) for p in side if part > 0]
    return out


def _family(kind: str, settings: dict[str, Any]) -> Any:
    from dataclasses import fields

    if kind == "gan":
        from generators.image.gan import GAN as Family  # noqa: N811
    else:
        from generators.image.diffusion import Diffusion as Family  # type: ignore[assignment]
    known = {f.name for f in fields(Family)}
    return Family(**{name: value for name, value in settings.items() if name in known})


def _dataset(pixels: list[Array], masks: list[Array], names: list[str], classes: tuple[str, ...]) -> Dataset:
    rows = batch(np.stack(pixels), names, masks=masks, names=[f"{i:06d}" for i in range(len(names))])
    return Dataset(pa.Table.from_batches([rows]), schema(classes))


def _crop(patch: Patch, size: int) -> tuple[Array, Array, int]:
    """The square around a patch's mask at SIDE: (SIDE, SIDE, c) uint8, (SIDE, SIDE) bool what is marked, its side before."""
    from data.images import fitted, fitted_mask

    x, y, w, h = box(patch.mask) or (0, 0, 1, 1)
    side = max(int(np.ceil(max(w, h) * ROOM)), max(w, h) + 2 * ring_of(size))
    top, left = y + h // 2 - side // 2, x + w // 2 - side // 2
    pad = max(0, -top, -left, top + side - patch.mask.shape[0], left + side - patch.mask.shape[1])
    window = slice(top + pad, top + pad + side), slice(left + pad, left + pad + side)
    pixels = np.pad(patch.pixels, ((pad, pad), (pad, pad), (0, 0)), mode="edge")[window]
    return fitted(pixels, SIDE, "stretch"), fitted_mask(np.pad(patch.marked, pad)[window], SIDE, "stretch"), side


def _usable(drawn: Any, own: list[tuple[Patch, tuple[Array, Array, int]]], rng: np.random.Generator, size: int) -> list[Patch]:
    """The drawn crops with a mask of a plausible area that its crop does not cut, as patches at a side of the class."""
    from data.images import fitted, fitted_mask

    areas = [c[1].sum() for _, c in own]
    low, high = SMALLEST * min(areas), LARGEST * max(areas)
    out = []
    for pixels, mask in zip(drawn.pixels, drawn.masks, strict=True):
        inner = mask[1:-1, 1:-1].sum()
        if not low <= mask.sum() <= high or inner < mask.sum():
            continue
        patch, (_, _, side) = own[rng.integers(len(own))]
        small = fitted_mask(mask, min(side, size), "stretch")
        seen = fitted(pixels, min(side, size), "stretch")
        known = np.ones(small.shape, dtype=bool)
        out.append(grew(Patch(seen, small, known, patch.label, patch.margin, opacity=patch.opacity), patch.halo))
    return out
