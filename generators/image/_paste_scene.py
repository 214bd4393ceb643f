"""What does pasting need to keep, and how is one more defect pasted?

Good pictures, the patches of defects, and where the defects of each class lie. A patch is turned and warped in a few ways,
laid where a good picture fits around it, and blended inside its mask alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from data.images import Pictures, box
from generators.base import SILENT, GeneratorError, Progress
from generators.image import _patches
from generators.image._blend import added, bare, laid, matted, poisson, ring
from generators.image._masks import MaskBank, Places
from generators.image._paste_edge import edged
from generators.image._paste_fit import LIGHT, Grounds, Spot, kept
from generators.image._paste_refine import cut_all
from generators.image._patches import Patch, Piece, Warp, cut, piece, ring_of
from generators.image._pictures import Facts
from generators.image._symmetry import MOST, symmetries

Array = np.ndarray
Blend = Literal["auto", "matte", "residual", "bare", "poisson", "mixed", "copy"]
#: What is handed out: pixels (size, size, c) uint8, mask (size, size) bool, source of the good picture.
Made = tuple[Array, Array, str | None]
#: Ways a patch is turned and warped before the one that fits best is taken; and the most, while none of them fits well.
TRIES, MOST_TRIES = 3, 8
#: Standard deviation of small turns, in degrees; bounds of the spread of the logarithms of sides and of strengths.
TURN, LEAST_SPREAD, MOST_SPREAD = 8.0, 0.1, 0.3
#: A class's own spread is taken as that of this many patches more, which all lie in the middle.
DOUBT = 1.0
#: What costs this much more than the best is as good; what a perfect fit may cost, in squared shares of white: of black
#: and white pictures, where a pixel in a hundred may differ, and of others.
AS_GOOD, PERFECT_SHARP, PERFECT = 1.25, 0.01, 2e-4
#: From these costs on a fit is poor: of black and white pictures, and of others.
POOR_SHARP, POOR = 0.03, 0.003
#: The share of pasted pixels of black and white pictures that must differ from what was there.
CHANGED = 0.7
#: Places drawn for one picture, and how far around each the best fit is searched, in shares of the picture.
DRAWN, NEAR = 4, 1 / 12
#: How a defect's contrast follows the light of its new place: the power of their ratio; gray levels added to both; bounds.
FOLLOWS, DARK, DIMMEST, BRIGHTEST = 0.5, 16.0, 0.6, 1.6
#: The least share of its own that a patch mixed with another one keeps.
OWN = 0.4


@dataclass(frozen=True)
class Style:
    """How patches are pasted: see the fields of `Paste`. context: lay them where the surroundings fit; else anywhere."""

    blend: Blend = "auto"
    places: Places = "real"
    candidates: int = 64
    choices: int = 4
    vary: float = 1.0
    mix: float = 0.25
    context: bool = True


class Scene:
    """goods: (n, size, size, c) uint8; sources: of the good pictures; bank: masks of the defects; patches: of defects;
    turns: symmetries of a square that the pictures allow; levels: the two values of black and white pictures, or None;
    groups: (n,) int64 what each good picture is of, -1 where that is unknown."""

    def __init__(
        self, goods: Array, sources: tuple[str | None, ...], bank: MaskBank, patches: list[Patch], turns: tuple[int, ...],
        levels: tuple[int, int] | None, groups: Array,
    ) -> None:  # fmt: skip
        self.groups = groups
        self.goods, self.sources, self.bank, self.turns, self.levels = goods, sources, bank, turns, levels
        self.size = int(goods.shape[1])
        self.grounds, self.ring = Grounds(goods, 1.0 if levels else LIGHT), ring_of(self.size)
        self.stock(patches)

    @classmethod
    def of(
        cls, train: Pictures, good: int, rng: np.random.Generator, *, find: bool = True, soft: bool = True,
        progress: Progress = SILENT,
    ) -> Self:  # fmt: skip
        """Cut the patches out of the defects of train. good: the label of the good pictures; find: where marks are boxes,
        look for the defects in them; soft: widen masks to the defects' soft edges."""
        own = train.take(np.flatnonzero(train.labels == good))
        bad = train.take(np.flatnonzero(train.labels != good))
        turns = symmetries(train.pixels[np.sort(rng.permutation(len(train))[:MOST])])
        bank, levels = MaskBank.fit(bad), levels_of(train.pixels)
        grouped, of_bad = _numbered(own, bad)
        scene = cls(own.pixels, own.sources or (None,) * len(own), bank, [], turns, levels, grouped)
        marked = np.flatnonzero(bad.masks.any(axis=(1, 2)))
        found = (
            cut_all(bad, bank, scene.grounds, turns, rng, sharp=levels is not None, progress=progress)
            if find
            else [cut(bad.pixels[i], bad.masks[i], int(bad.labels[i])) for i in marked]
        )
        found = [replace(patch, group=int(of_bad[i])) for i, patch in zip(marked, found, strict=True)]
        scene.stock(edged(found, scene.size, soft=soft) if find and levels is None else found)
        return scene

    def stock(self, patches: list[Patch]) -> None:
        """Take these patches to paste."""
        self.patches = patches
        self._of = {k: [p for p in patches if p.label == k] for k in sorted({p.label for p in patches})}
        self._spread = {k: _spreads(few) for k, few in self._of.items()}

    def pasted(self, label: int, rng: np.random.Generator, style: Style) -> Made:
        """One more picture of a class of defects."""
        few = self._of[label]
        trust = np.array([p.trust for p in few])
        patch = few[int(rng.choice(len(few), p=trust / trust.sum()))]
        one, spot = self._laid_out(patch, rng, style)
        made, mask = self._blended(one, spot, few, rng, style)
        return made, self._marked(mask, one), self.sources[spot.ground]

    def mended(self, rng: np.random.Generator, style: Style) -> Made:
        """One more good picture: a piece of another good one, of a defect's shape, laid where it fits. Nothing is marked."""
        label = int(rng.choice(self.bank.labels))
        mask = self.bank.draw(label, rng)
        if self.bank.boxes(label):  # so large a piece fits hardly anywhere
            mask = _shrunk(mask)
        other = int(rng.integers(len(self.goods)))
        plain = replace(style, vary=0.0, places="uniform", blend="copy" if self.levels else "poisson")
        patch = replace(cut(self.goods[other], mask, -1), group=int(self.groups[other]))
        one, spot = self._laid_out(patch, rng, plain, but=other)
        made, _ = self._blended(one, spot, [], rng, plain)
        return made, np.zeros((self.size, self.size), dtype=bool), self.sources[spot.ground]

    def _laid_out(self, patch: Patch, rng: np.random.Generator, style: Style, *, but: int = -1) -> tuple[Piece, Spot]:
        """The patch as it fits, and where: one of the tries that fit about as well as the best. but: a good picture that it
        must not be laid on, as it comes from there. Nor is it laid on others of its group, of which it would give a copy."""
        others = np.flatnonzero((np.arange(len(self.goods)) != but) & ((self.groups != patch.group) | (self.groups < 0)))
        others = others if len(others) else np.arange(len(self.goods))
        poor, perfect = (POOR_SHARP, PERFECT_SHARP) if self.levels else (POOR, PERFECT)
        found: list[tuple[Piece, Spot]] = []
        for k in range(MOST_TRIES):
            if found and (not style.context or (k >= TRIES and min(s.cost for _, s in found) <= poor)):
                break
            one = self._varied(patch, rng, style, plain=k % TRIES == 0 and style.context)
            # Where nothing near a few places fits, a trace does elsewhere: its surroundings make a defect what it is.
            spot = self._spot(one, rng, style, others, wide=self.levels is not None and k >= TRIES)
            found += [(one, spot)] if spot is not None else []
        if found:
            least = min(spot.cost for _, spot in found)
            found = [pair for pair in found if pair[1].cost <= AS_GOOD * least + perfect]
            return found[int(rng.integers(len(found)))]
        one = piece(patch, 0, self.ring, levels=self.levels)
        return one, Spot(int(rng.choice(others)), *kept(0, 0, one, self.size), 0.0)

    def _spot(self, one: Piece, rng: np.random.Generator, style: Style, others: Array, *, wide: bool = False) -> Spot | None:
        """Where a piece fits. wide: anywhere between where its class's defects lie, not near some of their places alone."""
        anywhere = style.places == "uniform" or one.label < 0
        if not style.context:
            return self._any_spot(one, rng, None if anywhere else self._wanted(one.label, rng, style), others)
        # By chance where no place is wanted: many fit alike on an even surface.
        wanted = rng.random((self.size, self.size)) if anywhere else self._wanted(one.label, rng, style, wide=wide)
        which = rng.choice(others, min(len(others), max(1, style.candidates // TRIES)), replace=False)
        spots = self.grounds.spots(one, which, wanted, 2 * style.choices, slack=PERFECT_SHARP if self.levels else PERFECT)
        if one.label >= 0 and self.levels:
            spots = [spot for spot in spots if self._changes(one, spot)]
        perfect = PERFECT_SHARP if self.levels else PERFECT
        good = [s for s in spots[: style.choices] if s.cost <= AS_GOOD * spots[0].cost + perfect]
        return good[int(rng.integers(len(good)))] if good else None

    def _any_spot(self, one: Piece, rng: np.random.Generator, wanted: Array | None, others: Array) -> Spot:
        free = np.argwhere(np.isfinite(wanted)) if wanted is not None else np.array([rng.integers(self.size, size=2)])
        y, x = free[rng.integers(len(free))]
        left, top, w, h = one.box
        place = kept(int(y) - top - h // 2, int(x) - left - w // 2, one, self.size)
        return Spot(int(rng.choice(others)), *place, 0.0)

    def _changes(self, one: Piece, spot: Spot) -> bool:
        """Whether most of what is pasted differs from what is there: a gap pasted into nothing is no defect."""
        here, there = one.at(spot.top, spot.left, self.size, self.size)
        mask = one.mask[there]
        apart = np.abs(self.goods[spot.ground][here] - one.pixels[there]).max(axis=2) > 0
        return bool((apart & mask).sum() >= CHANGED * mask.sum())

    def _varied(self, patch: Patch, rng: np.random.Generator, style: Style, *, plain: bool = False) -> Piece:
        turn = int(rng.choice(self.turns))
        if style.vary <= 0:
            return piece(patch, turn, self.ring, levels=self.levels)
        angle = 0.0 if any(patch.cut_off) else np.deg2rad(TURN) * rng.standard_normal() * style.vary
        side, aspect = np.exp(self._spread[patch.label][0] * style.vary * rng.standard_normal(2) * (1.0, 0.5))
        if plain:  # the defect alone changes; its size stays, or it would come off what it touches
            side, aspect = 1.0, 1.0
        _, _, w, h = box(patch.mask) or (0, 0, 1, 1)
        most = 0.98 * self.size / max(w, h)
        warp = Warp(
            angle, (min(side * aspect, most), min(side / aspect, most)), int(rng.integers(2**31)), _patches.BEND * style.vary,
            inner=plain,
        )  # fmt: skip
        return piece(patch, turn, self.ring, warp=warp, levels=self.levels)

    def _wanted(self, label: int, rng: np.random.Generator, style: Style, *, wide: bool = False) -> Array:
        """How far the middle of the mask's box would lie from places drawn from where the class's defects lie, in squares of
        how far it may: (size, size), infinite where it may not. wide: anywhere between the class's places, by chance."""
        reach = max(1, round(self.size * NEAR)) if style.context else 0
        if wide:
            return np.where(self.bank.region(label, self.size, reach), rng.random((self.size, self.size)), np.inf)
        drawn = np.minimum(self.bank.places(label, rng, DRAWN if style.context else 1) * self.size, self.size - 1).astype(int)
        apart = np.abs(np.arange(self.size) - drawn[:, :, None])  # (places, 2, size)
        far = (apart[:, 0, :, None] ** 2 + apart[:, 1, None, :] ** 2) / max(1, reach) ** 2
        near = (apart[:, 0, :, None] <= reach) & (apart[:, 1, None, :] <= reach)
        return np.asarray(np.where(near, far, np.inf).min(axis=0))

    def _blended(
        self, one: Piece, spot: Spot, few: list[Patch], rng: np.random.Generator, style: Style
    ) -> tuple[Array, Array]:  # fmt: skip
        """The good picture with the piece in it, and the pasted pixels that a mark covers."""
        base = self.goods[spot.ground]
        canvas, mask = base.astype(np.float64), np.zeros((self.size, self.size), dtype=bool)
        here, there = one.at(spot.top, spot.left, self.size, self.size)
        mask[here] = one.mask[there]
        blend = ("copy" if self.levels else "matte") if style.blend == "auto" else style.blend
        if blend in ("residual", "bare", "matte"):
            rest, hides = np.zeros_like(canvas), one.opacity if blend == "matte" else 0.0
            rest[here] = self._rest(one, few, rng, style, hides)[there]
            rest *= _light(base[ring(mask, self.ring)], one) ** (1 - hides)
            if hides:
                canvas[here] = one.surface[there]
            made = matted(base, canvas, rest, mask, hides) if hides else added(base, rest, mask)
        else:
            canvas[here] = one.pixels[there]
            made = laid(base, canvas, mask) if blend == "copy" else poisson(base, canvas, mask, mixed=blend == "mixed")
        if self.levels:
            low, high = self.levels
            made = laid(base, np.where(made >= (low + high) / 2, high, low), mask)
        marked = np.zeros_like(mask)
        marked[here] = one.marked[there]
        return made, marked if marked.any() else mask

    def _rest(self, one: Piece, few: list[Patch], rng: np.random.Generator, style: Style, hides: float = 0.0) -> Array:
        """The residual of a piece, sometimes mixed with another one's, in a strength that the class shows; the more a defect
        hides, the less of either: half a hole is none."""
        rest = _own(one, style)
        if len(few) > 1 and rng.random() < style.mix:
            other = self._varied(few[rng.integers(len(few))], rng, style)
            (x, y, w, h), (x2, y2, w2, h2) = one.box, other.box
            here, there = other.at(y + h // 2 - y2 - h2 // 2, x + w // 2 - x2 - w2 // 2, *one.mask.shape)
            share = np.ones((*one.mask.shape, 1))
            share[here][other.mask[there]] = 1 - (1 - hides) * rng.uniform(0.0, 1 - OWN)
            second = np.zeros_like(rest)
            second[here] = _own(other, style)[there]
            rest = share * rest + (1 - share) * second
        strength = self._spread[one.label][1] * style.vary * (1 - hides) if one.label in self._spread else 0.0
        return np.asarray(np.where(one.mask[:, :, None], rest * np.exp(strength * rng.standard_normal()), 0.0))

    def _marked(self, mask: Array, one: Piece) -> Array:
        """What is marked of a defect's pixels: these, or a box as wide around them as train's boxes are."""
        if not self.bank.boxes(one.label):
            return mask
        top, left, bottom, right = (int(v) for v in one.margin)
        x, y, w, h = box(mask) or (0, 0, 1, 1)
        out = np.zeros_like(mask)
        out[max(0, y - top) : y + h + bottom, max(0, x - left) : x + w + right] = True
        return out

    def to_state(self) -> dict[str, Array]:
        """Arrays for an npz file, without pickled objects; sources are not among them."""
        levels = np.array(self.levels if self.levels else (), dtype=np.int64)
        state = {"goods": self.goods, "groups": self.groups, "turns": np.array(self.turns), "levels": levels}
        state |= {f"bank_{name}": value for name, value in self.bank.to_state().items()}
        return state | {f"patch_{name}": value for name, value in _patches.to_state(self.patches).items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], sources: tuple[str | None, ...]) -> Self:
        """What `to_state` gave."""
        bank, patches = (
            {name.removeprefix(mark): state[name] for name in state if name.startswith(mark)} for mark in ("bank_", "patch_")
        )
        levels, turns = state["levels"].tolist(), tuple(state["turns"].tolist())
        stock = _patches.from_state(patches)
        two = (levels[0], levels[1]) if levels else None
        return cls(state["goods"], sources, MaskBank.from_state(bank), stock, turns, two, state["groups"])


def _numbered(*parts: Pictures) -> list[Array]:
    """A number of the group of each picture, the same in all parts; -1 where it has none."""
    names = sorted({name for part in parts for name in part.groups if name is not None})
    numbers = {name: i for i, name in enumerate(names)} | {None: -1}
    return [np.array([numbers[name] for name in part.groups or (None,) * len(part)], dtype=np.int64) for part in parts]


def good_label(facts: Facts) -> int:
    """The label of the good pictures. Raises GeneratorError without good pictures, or without defects."""
    other = "use generator.use: image.gan, which draws whole pictures"
    good = facts.classes.index(facts.normal) if facts.normal is not None else -1
    if good < 0:
        raise GeneratorError(
            f"no class of train is one of good pictures, to paste defects on; name it by generator.normal, or {other}"
        )
    if not facts.shares[good]:
        raise GeneratorError(f"train has no picture of class {facts.normal!r}, to paste defects on; add some, or {other}")
    if sum(share > 0 for share in facts.shares) < 2:
        raise GeneratorError("train has good pictures alone, and no defect to paste; add at least one picture of each defect")
    return good


def check_marks(train: Pictures, facts: Facts) -> None:
    """Raises GeneratorError where a class of defects has no marks."""
    for k, name in enumerate(facts.classes):
        if facts.shares[k] and name != facts.normal and not train.masks[train.labels == k].any():
            raise GeneratorError(
                f"no picture of class {name!r} has a mask or box; give one at least, or use generator.use: image.gan, which "
                "draws whole pictures"
            )


def levels_of(pixels: Array) -> tuple[int, int] | None:
    """The two values of pictures that have no others; None for any other pictures."""
    found = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    return (int(found[0]), int(found[1])) if len(found) == 2 else None


def _own(one: Piece, style: Style) -> Array:
    """What a piece adds to a surface; with the texture of its own surface, unless it is to be left behind."""
    matte = style.blend in ("auto", "matte") and one.opacity > 0
    if not matte and style.blend != "bare":
        return one.rest
    shows = (1 - one.opacity) ** 2 if matte else 1.0
    return bare(one.rest, one.mask, one.surface, one.known & ~one.mask, shows=shows)


def _light(around: Array, one: Piece) -> float:
    """How much stronger a residual is at its new place, the brighter it is there."""
    own = one.surface[~one.mask & one.known]
    if not len(own) or not len(around):
        return 1.0
    return float(np.clip(((around.mean() + DARK) / (own.mean() + DARK)) ** FOLLOWS, DIMMEST, BRIGHTEST))


def _spreads(patches: list[Patch]) -> tuple[float, float]:
    """By how much sides and strengths may vary: the spread of their logarithms within the class."""
    sides = np.log([np.sqrt(p.mask.sum()) for p in patches])
    strengths = np.log([1.0 + np.abs(p.pixels - p.surface)[p.mask].mean() for p in patches])
    share = np.sqrt(len(patches) / (len(patches) + DOUBT))
    side, strength = (float(np.clip(share * v.std() / 2, LEAST_SPREAD, MOST_SPREAD)) for v in (sides, strengths))
    return side, strength


def _shrunk(mask: Array) -> Array:
    """The middle of a mask, about half as wide."""
    x, y, w, h = box(mask) or (0, 0, 1, 1)
    out = np.zeros_like(mask)
    out[y + h // 4 : y + max(h // 4 + 1, h - h // 4), x + w // 4 : x + max(w // 4 + 1, w - w // 4)] = True
    return out & mask if (out & mask).any() else mask
