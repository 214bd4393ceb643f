"""Sets of pictures whose features are taken once, divided anew for every trial; and the faults that are planted in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from benchmarks.images_data import dataset
from data.images import Pictures, pictures
from validators import extractor as extractors
from validators._pictures_crops import Seen, agreed, marks
from validators._pictures_features import Measured, measure
from validators.base import Check, Intent
from validators.gate import Decision, decide
from validators.judge import run
from validators.pictures import evidence_of, picture_checks

Array = np.ndarray
Rng = np.random.Generator
#: Shares of the pictures for train, holdout and the synthetic side: few to judge by, many drawn.
SHARES = (0.3, 0.1, 0.6)


def checks() -> list[Check]:
    """Those that judge by features alone and can block by themselves."""
    return [check for check in picture_checks(utility="off") if check.name not in ("schema", "fidelity")]


@dataclass(frozen=True)
class Pool:
    """A set with what was measured of its pictures. copies: how many versions of each real picture the pool holds one
    after the other; the first are the pictures as they are, the others are mirrored and stand in for draws of a generator."""

    name: str
    held: Pictures
    measured: Measured
    seen: Seen
    copies: int = 1

    def divided(self, rng: Rng, shares: tuple[float, float, float], *, by_group: bool = False) -> tuple[Array, Array, Array]:
        """Positions for train, holdout and the synthetic side, at random, or group by group."""
        count = len(self.held) // self.copies
        unit = np.arange(count)
        if by_group:
            names = [f"alone-{i}" if name is None else name for i, name in enumerate(self.held.groups[:count])]
            _, unit = np.unique(names, return_inverse=True)
        order = rng.permutation(int(unit.max()) + 1)
        edges = (np.cumsum(shares) * len(order)).round().astype(int)
        parts = [np.flatnonzero(np.isin(unit, order[a:b])) for a, b in zip((0, *edges[:-1]), edges, strict=True)]
        made = np.concatenate([parts[2] + count * k for k in range(self.copies)])
        return parts[0], parts[1], made

    def again(self, changed: Pictures) -> Measured:
        """What is measured of changed pictures, looked at as the pool is."""
        return measured_of(changed, self.seen)


def measured_of(held: Pictures, seen: Seen) -> Measured:
    """Features of all these pictures."""
    return measure({"train": held}, seen, extractors.random(held.size))["train"]


def judge(train: Measured, holdout: Measured, made: Measured, *, seed: int) -> Decision:
    """What the checks say of these sides; nothing is asked about small modes, so that a pass is a PASS."""
    sides = {"train": train, "reference": train, "holdout": holdout, "synthetic": made}
    given = evidence_of(sides, Intent(seed=seed, detect=1.0))
    found = [run(check, given) for check in checks()]
    if broken := [finding.summary for finding in found if finding.verdict == "ERROR"]:
        raise RuntimeError(broken[0])
    return decide(found, intent=given.intent)


def pools(folder: Path) -> dict[str, Pool]:
    """The sets that are here, features taken. Data sets of others are looked for in `folder`."""
    from data.sources import digits_images

    out = {"digits": _pool("digits", pictures(dataset(digits_images.read(size=32))))}
    for name in ("bsdata", "deeppcb"):
        if (folder / name).is_dir():
            from data.sources import image_index

            table = image_index.read(path=str(folder / name))
            out[name] = _pool(name, pictures(dataset(table)))
    return out


def drawn_pool(seed: int = 200) -> Pool:
    """Many brushed surfaces, drawn here, with known modes."""
    from data.samples.surfaces import draw

    counts = {"normal": 1100, "scratch": 800, "stain": 800, "pit": 800}
    return _pool("surfaces", pictures(dataset(draw(counts, seed=seed))))


def mirrored(pool: Pool) -> Pool:
    """The pool with each picture mirrored, upside down, and both, behind the pictures as they are."""
    held = pool.held
    ways = [held] + [
        replace(held, pixels=np.flip(held.pixels, axes).copy(), masks=np.flip(held.masks, axes).copy())
        for axes in ((2,), (1,), (1, 2))
    ]
    return _pool(pool.name, joined(*ways), copies=4)


def _pool(name: str, held: Pictures, copies: int = 1) -> Pool:
    seen = agreed([held], held)
    return Pool(name, held, measured_of(held, seen), seen, copies)


def joined(*parts: Pictures) -> Pictures:
    """The pictures of several sets, one after the other."""
    arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in ("pixels", "masks", "masked", "labels")]
    groups, sources = (
        tuple(x for part in parts for x in getattr(part, name) or (None,) * len(part)) for name in ("groups", "sources")
    )
    return Pictures(*arrays, parts[0].classes, groups=groups, sources=sources)


@dataclass(frozen=True)
class Strength:
    """How much a picture is changed. steps: it may be shifted by, in pixels, up to 3 % of a side where None; gain, gray: of the
    light, as a share and in levels; noise: its deviation in levels."""

    steps: Sequence[int] | None = None
    gain: float = 0.1
    gray: float = 15.0
    noise: float = 4.0


#: As a copy is changed to hide that it is one.
USUAL = Strength()


def changed(held: Pictures, how: str, rng: Rng, strength: Strength = USUAL) -> Pictures:
    """Each picture a little changed: f mirrored, s shifted, b lit otherwise, n with noise."""
    pixels, masks = held.pixels.astype(np.float32), held.masks.copy()
    reach = max(1, round(0.03 * held.size))
    steps = np.arange(-reach, reach + 1) if strength.steps is None else np.asarray(strength.steps)
    for i in range(len(held)):
        if "f" in how:
            axes = ((1,), (0,), (0, 1))[int(rng.integers(3))]
            pixels[i], masks[i] = np.flip(pixels[i], axes), np.flip(masks[i], axes)
        if "s" in how:
            by = rng.choice(steps, 2)
            pixels[i], masks[i] = (_moved(part[i], by) for part in (pixels, masks))
        if "b" in how:
            pixels[i] = pixels[i] * rng.uniform(1 - strength.gain, 1 + strength.gain)
            pixels[i] += rng.uniform(-strength.gray, strength.gray)
        if "n" in how:
            pixels[i] += rng.normal(0, strength.noise, pixels[i].shape)
    return replace(held, pixels=np.clip(np.round(pixels), 0, 255).astype(np.uint8), masks=masks)


def _moved(picture: Array, by: Array) -> Array:
    rows, columns = (np.clip(np.arange(n) - step, 0, n - 1) for n, step in zip(picture.shape[:2], by, strict=True))
    return picture[rows][:, columns]


# --- faults: the pool, positions of train and of the synthetic side, a generator -> what the synthetic side becomes

Fault = Callable[[Pool, Array, Array, Rng], Measured]


def without_source(text: str) -> Fault:
    """A mode that the pictures' sources name is not drawn."""

    def plant(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
        return pool.measured.take(made[[text not in str(pool.held.sources[i]) for i in made]])

    return plant


def without_small_marks(name: str, share: float) -> Fault:
    """The pictures of a class with the smallest marks are not drawn."""

    def plant(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
        area, mine = pool.measured.geometry[:, 0], pool.measured.labels == pool.held.classes.index(name)
        small = mine & (area < np.nanquantile(area[mine], share))
        return pool.measured.take(made[~small[made]])

    return plant


def swapped_labels(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
    """Two classes exchange their names on 30 % of their pictures."""
    found = pool.measured.take(made)
    labels, pair = found.labels.copy(), rng.permutation(len(pool.held.classes))[:2]
    some = np.isin(labels, pair) & (rng.random(len(labels)) < 0.3)
    labels[some] = pair.sum() - labels[some]
    return replace(found, labels=labels)


def drawn_to_the_mean(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
    """Every picture is 30 % the mean of the training pictures of its class."""
    some = pool.held.take(_some(made, rng))
    pixels = some.pixels.astype(np.float32)
    for k in np.unique(some.labels):
        mean = pool.held.pixels[train][pool.held.labels[train] == k].mean(axis=0)
        pixels[some.labels == k] = 0.7 * pixels[some.labels == k] + 0.3 * mean
    return pool.again(replace(some, pixels=np.round(pixels).astype(np.uint8)))


def near_copies(how: str, share: float) -> Fault:
    """A share of the pictures are training pictures, changed."""

    def plant(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
        count = round(share * len(made))
        copies = pool.again(changed(pool.held.take(rng.choice(train, count)), how, rng))
        return both(pool.measured.take(rng.permutation(made)[count:]), copies)

    return plant


def learned_by_heart(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
    """All pictures are training pictures, changed."""
    return pool.again(changed(pool.held.take(rng.choice(train, min(len(made), 1200))), "fsbn", rng))


def collapsed(pool: Pool, train: Array, made: Array, rng: Rng) -> Measured:
    """One picture of each class, drawn over and over with a little noise; it is no training picture."""
    some = _some(made, rng)
    first = {int(pool.held.labels[i]): int(i) for i in some}
    return pool.again(changed(pool.held.take([first[int(pool.held.labels[i])] for i in some]), "n", rng))


def _some(made: Array, rng: Rng, most: int = 1200) -> Array:
    """So many of the pictures, as changed ones are looked at anew."""
    return rng.permutation(made)[:most]


def blurred(held: Pictures, width: float = 2.0) -> Pictures:
    """The pictures as a lens out of focus shows them; width: of the Gaussian, in pixels."""
    from scipy import ndimage

    return replace(held, pixels=np.stack([ndimage.gaussian_filter(one, (width, width, 0)) for one in held.pixels]))


def both(first: Measured, second: Measured) -> Measured:
    """The rows of two sides, one after the other."""
    parts = {f.name: [getattr(side, f.name) for side in (first, second)] for f in fields(first)}
    return Measured(**{name: pair[0] if name == "classes" else np.concatenate(pair) for name, pair in parts.items()})


def neighbours(pool: Pool, found: Array, rng: Rng) -> float:
    """Balanced accuracy of five neighbours by features (n, d), half of the pictures against the other half."""
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.neighbors import KNeighborsClassifier

    order = rng.permutation(len(found))
    a, b = order[: len(order) // 2], order[len(order) // 2 :]
    width = found[a].std(axis=0) + 1e-6
    labels = pool.held.labels
    guess = KNeighborsClassifier(5).fit(found[a] / width, labels[a]).predict(found[b] / width)
    return float(balanced_accuracy_score(labels[b], guess))


def looked_at_whole(pool: Pool) -> Array:
    """Features of whole pictures, marks or not."""
    return extractors.features(extractors.random(pool.held.size), pool.held.pixels, np.zeros_like(pool.held.masks))


def speed(pool: Pool, count: int = 1000) -> float:
    """Pictures a second that both nets look at, in time of the processor."""
    import time

    held = pool.held.take(np.arange(min(count, len(pool.held))))
    masks, net = marks(held, pool.seen), extractors.random(held.size)
    start = time.process_time()
    extractors.features(net, held.pixels, masks)
    extractors.traces(held.pixels, masks)
    return len(held) / (time.process_time() - start)
