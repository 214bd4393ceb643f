"""How far does one come without learning anything? Anomalies cut, pasted and drawn on good pictures by rules alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.images import Pictures
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal, unseal
from generators.image import _patches
from generators.image._blend import laid, poisson
from generators.image._masks import MaskBank, Places
from generators.image._paste_scene import levels_of
from generators.image._patches import Patch, Piece, cut, piece
from generators.image._perlin import blot, rectangle, strip
from generators.image._pictures import Facts, learned, read_json, write_json
from generators.image._symmetry import MOST, symmetries

__all__ = ["Procedural"]

Array = np.ndarray
Way = Literal["auto", "cutpaste", "perlin", "scar"]
STORE, STATE = "store.npz", "state.json"
#: Shares of the picture that an anomaly covers where no mask of its class is known.
AREAS = (0.005, 0.08)
#: Bounds of opacity, as in DRAEM; of a factor of contrast; and of a shift of light, in shares of white, as in CutPaste.
OPACITY, CONTRAST, LIGHT = (0.1, 1.0), (0.9, 1.1), 0.05


@dataclass
class Procedural:
    """The baseline that every learned family has to beat: nothing is trained, and nothing is looked for.

    Sources: Li et al. 2021 (CutPaste: a piece cut out and pasted elsewhere; scars: thin turned strips); Zavrtanik et al.
    2021 (DRAEM: Perlin noise cut at a threshold gives the mask, a texture with random opacity fills it).

    For a class with masks the piece is one of its real defects, and its surface is the texture that fills strips and noise;
    for one without it is a piece of another good picture. Asked for good pictures, it blends a piece of one into another.
    A saved model holds the good pictures and the defects of train.

    Fields:
        way: "cutpaste", "scar" or "perlin"; auto: cutpaste for classes with masks, perlin for others.
        places: "real" where the class's defects lie, as far as that is known, "uniform" anywhere.
        normal: the class of good pictures; found by its name, or by its empty masks, if left out.
    """

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="cut and paste, nothing learned",
        rows=2,
        rows_of_class=1,
        gain=0.31,
        reference=True,
        fails=("blur", "diversity"),
    )
    paints: ClassVar[bool] = True

    way: Way = "auto"
    places: Places = "real"
    normal: str | None = None

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Keep the good pictures and the defects. Raises GeneratorError for rows of a table, or without good pictures."""
        known, self.facts_ = self._known(train)
        self._keep(known, np.random.default_rng([seed % 2**63, 12]))
        progress.advance(1, 1, "patches", patches=float(len(self.patches_)))
        return self

    def refuse(self, train: Dataset) -> None:
        """Raises what `fit` would: GeneratorError for settings that make no sense, or no good pictures."""
        self._known(train)

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most 256, with exact masks.

        Raises GeneratorError for a condition on anything but the class, or a class that was not there."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def save(self, folder: Path) -> None:
        """Write the good pictures and the defects, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"goods": self.goods_, "turns": np.array(self.turns_)}
        arrays |= {f"patch_{name}": value for name, value in _patches.to_state(self.patches_).items()}
        if self.bank_ is not None:
            arrays |= {f"bank_{name}": value for name, value in self.bank_.to_state().items()}
        np.savez_compressed(folder / STORE, **arrays)
        write_json(folder / STATE, {"facts": self.facts_.to_json(), "sources": list(self.sources_), "levels": self.levels_})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**unseal(folder)["settings"])
        state = read_json(folder / STATE)
        family.facts_, family.sources_ = Facts.from_json(state["facts"]), tuple(state["sources"])
        family.levels_ = tuple(state["levels"]) if state["levels"] else None
        with stored.arrays(folder / STORE) as arrays:
            held = {name: arrays[name] for name in arrays.files}
        parts = {mark: {n.removeprefix(mark): held[n] for n in held if n.startswith(mark)} for mark in ("patch_", "bank_")}
        family.goods_, family.turns_ = held["goods"], tuple(held["turns"].tolist())
        family.patches_ = _patches.from_state(parts["patch_"])
        family.bank_ = MaskBank.from_state(parts["bank_"]) if parts["bank_"] else None
        return family

    def _known(self, train: Dataset) -> tuple[Pictures, Facts]:
        for name, allowed in (("way", Way), ("places", Places)):
            if getattr(self, name) not in get_args(allowed):
                raise GeneratorError(f"generator.{name}: {getattr(self, name)!r} is none of {', '.join(get_args(allowed))}")
        known = learned(train)
        facts = Facts.of(known, self.normal)
        other = "use generator.use: image.gan, which draws whole pictures"
        if facts.normal is None:
            raise GeneratorError(
                f"no class of train is one of good pictures, to draw on; name it by generator.normal, or {other}"
            )
        if not facts.shares[facts.classes.index(facts.normal)]:
            raise GeneratorError(f"train has no picture of class {facts.normal!r}, to draw on; add some, or {other}")
        return known, facts

    def _keep(self, known: Pictures, rng: np.random.Generator) -> None:
        good = known.labels == self.facts_.classes.index(self.facts_.normal or "")
        own, bad = known.take(np.flatnonzero(good)), known.take(np.flatnonzero(~good))
        marked = np.flatnonzero(bad.masks.any(axis=(1, 2)))
        self.goods_, self.sources_ = own.pixels, own.sources or (None,) * len(own)
        self.bank_: MaskBank | None = MaskBank.fit(bad) if len(marked) else None
        self.patches_ = [cut(bad.pixels[i], bad.masks[i], int(bad.labels[i])) for i in marked]
        self.turns_ = symmetries(known.pixels[np.sort(rng.permutation(len(known))[:MOST])])
        self.levels_: tuple[int, ...] | None = levels_of(known.pixels)

    def _draw(
        self, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, Sequence[np.ndarray | None], Sequence[str | None]]:
        made = [self._one(int(k), rng) for k in labels]
        pixels = np.stack([one[0] for one in made]) if made else np.zeros((0, *self.goods_.shape[1:]), dtype=np.uint8)
        return pixels, [one[1] for one in made], [one[2] for one in made]

    def _one(self, label: int, rng: np.random.Generator) -> tuple[Array, Array, str | None]:
        """One picture: pixels, mask, and the source of the good one."""
        i = int(rng.integers(len(self.goods_)))
        base, size = self.goods_[i], self.facts_.size
        middle = self._middle(label, rng)
        if self.facts_.classes[label] == self.facts_.normal:
            piece_of = rectangle(size, middle, rng)
            other = self.goods_[rng.integers(len(self.goods_))]
            made = laid(base, other, piece_of) if self.levels_ else poisson(base, other, piece_of)
            return made, np.zeros((size, size), dtype=bool), self.sources_[i]
        own = [p for p in self.patches_ if p.label == label]
        way = ("cutpaste" if own else "perlin") if self.way == "auto" else self.way
        if way == "cutpaste" and own:
            one = piece(own[int(rng.integers(len(own)))], int(rng.choice(self.turns_)), 0)
            made, mask = self._pasted(base, one, middle, rng)
            return made, mask, self.sources_[i]
        mask = self._shape(way, own, middle, rng)
        made = self._filled(base, mask, own, way, rng)
        return made, mask, self.sources_[i]

    def _middle(self, label: int, rng: np.random.Generator) -> tuple[float, float]:
        """Where an anomaly comes to lie: y, x in pixels."""
        shares = rng.uniform(0, 1, 2)
        if self.places == "real" and self.bank_ is not None and self.bank_.has(label):
            shares = self.bank_.places(label, rng, 1)[0]
        y, x = np.minimum(shares * self.facts_.size, self.facts_.size - 1)
        return float(y), float(x)

    def _pasted(
        self, base: Array, one: Piece, middle: tuple[float, float], rng: np.random.Generator
    ) -> tuple[Array, Array]:  # fmt: skip
        """A defect laid over a good picture as it is, but for a little light."""
        size = self.facts_.size
        x, y, w, h = one.box
        corner = [int(np.clip(round(m - side / 2), 0, size - side)) for m, side in zip(middle, (h, w), strict=True)]
        here, there = one.at(corner[0] - y, corner[1] - x, size, size)
        canvas, mask = base.astype(np.float64), np.zeros((size, size), dtype=bool)
        mask[here], canvas[here] = one.mask[there], one.pixels[there]
        return laid(base, canvas if self.levels_ else _lit(canvas, rng), mask), mask

    def _shape(self, way: str, own: list[Patch], middle: tuple[float, float], rng: np.random.Generator) -> Array:
        size = self.facts_.size
        if way == "scar":
            return strip(size, middle, rng)
        if way == "cutpaste":
            return rectangle(size, middle, rng)
        boxed = bool(own) and self.bank_ is not None and self.bank_.boxes(own[0].label)
        areas = [int(p.mask.sum()) // (4 if boxed else 1) for p in own]  # a box holds more than its defect
        area = areas[rng.integers(len(areas))] if areas else round(size**2 * np.exp(rng.uniform(*np.log(AREAS))))
        return blot(size, int(area), middle, rng)

    def _filled(self, base: Array, mask: Array, own: list[Patch], way: str, rng: np.random.Generator) -> Array:
        """A good picture whose mask is filled with texture: of a defect, or of another good picture."""
        if self.levels_:  # a texture in black and white would show what is there already
            return laid(base, sum(self.levels_) - base.astype(np.float64), mask)
        if own:
            texture = _tiled(own[int(rng.integers(len(own)))], self.facts_.size)
        else:
            turned = np.rot90(self.goods_[rng.integers(len(self.goods_))], int(rng.integers(4)))
            texture = np.roll(turned, tuple(rng.integers(self.facts_.size, size=2)), axis=(0, 1)).astype(np.float64)
            if way == "perlin" and rng.random() < 0.5:  # solarised, one of the changes of DRAEM
                texture = np.where(texture > 127, 255 - texture, texture)
        opacity = rng.uniform(*OPACITY) if way == "perlin" else 1.0
        return laid(base, opacity * _lit(texture, rng) + (1 - opacity) * base, mask)


def _lit(pixels: Array, rng: np.random.Generator) -> Array:
    """A little more or less contrast and light."""
    mean = pixels.mean()
    return np.asarray((pixels - mean) * rng.uniform(*CONTRAST) + mean + 255 * rng.uniform(-LIGHT, LIGHT))


def _tiled(patch: Patch, size: int) -> Array:
    """The surface of a defect, mirrored until it fills a picture: (size, size, c) float64."""
    one = piece(patch, 0, 0)
    x, y, w, h = one.box
    pixels, mask = one.pixels[y : y + h, x : x + w], one.mask[y : y + h, x : x + w]
    seen = np.where(mask[:, :, None], pixels, pixels[mask].mean(axis=0))
    rows, columns = (np.pad(np.arange(side), (0, size), mode="symmetric")[:size] for side in (h, w))
    return np.asarray(seen[rows][:, columns])
