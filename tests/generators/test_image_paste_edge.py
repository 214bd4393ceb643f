"""Does a pasted defect reach as far as real ones do beyond a tight mark, and hide as much of the surface as they do?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy import ndimage

from data.dataset import Dataset
from data.images import pictures, schema
from generators.image._paste_edge import edged, halo, opacities
from generators.image._patches import Patch, cut
from generators.image.finetune import FineTune
from generators.image.paste import Paste
from tests.generators.pictures import as_dataset

SIZE = 64


def weave(rng: np.random.Generator, strength: float = 25.0) -> np.ndarray:
    """A fine weave of any tone: (SIZE, SIZE, 3) float64."""
    y, x = np.mgrid[:SIZE, :SIZE]
    threads = np.sin(2 * np.pi * x / 5 + rng.uniform(0, 6)) * np.sin(2 * np.pi * y / 5 + rng.uniform(0, 6))
    return np.asarray(rng.uniform(120, 180, 3) + strength * threads[:, :, None] + rng.normal(0, 3, (SIZE, SIZE, 1)))


def spot(
    rng: np.random.Generator, colour: float, opaque: float, *, soft: float = 0.0, radius: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """A weave with a round spot that hides `opaque` of it, its edge `soft` pixels wide, and the spot's mark."""
    y, x = np.mgrid[:SIZE, :SIZE]
    far = np.hypot(y - rng.uniform(20, 44), x - rng.uniform(20, 44))
    mark = far < radius
    cover = np.clip((radius + soft - far) / max(2 * soft, 1e-9), 0, 1) if soft else mark.astype(np.float64)
    cover = opaque * cover[:, :, None]
    return np.clip(weave(rng) * (1 - cover) + colour * cover, 0, 255).astype(np.uint8), mark


def patches(n: int, *, opaque: float, soft: float = 0.0, seed: int = 0) -> list[Patch]:
    rng = np.random.default_rng(seed)
    return [cut(*spot(rng, 10.0, opaque, soft=soft), 1) for _ in range(n)]


def test_a_tight_mark_grows_to_the_soft_edge_and_an_exact_one_does_not() -> None:
    assert halo(patches(6, opaque=0.9), SIZE) == 0
    assert 1 <= halo(patches(6, opaque=0.9, soft=3.0), SIZE) <= 2
    grown = edged(patches(6, opaque=0.9, soft=3.0), SIZE)
    assert all(p.halo == grown[0].halo and p.mask.sum() > np.pi * 8.5**2 for p in grown)


def test_changes_that_go_both_ways_say_nothing_about_the_edge() -> None:
    rng = np.random.default_rng(0)
    both = [cut(np.clip(weave(rng) + rng.normal(0, 30, (SIZE, SIZE, 1)), 0, 255).astype(np.uint8), spot(rng, 0, 0)[1], 1)]
    assert halo(both * 5, SIZE) == 0


@pytest.mark.parametrize(("opaque", "low", "high"), [(1.0, 0.8, 1.0), (0.5, 0.35, 0.6), (0.0, 0.0, 0.0)])
def test_how_much_a_defect_hides_is_found(opaque: float, low: float, high: float) -> None:
    shares = opacities(patches(6, opaque=opaque))
    assert all(low <= share <= high for share in shares)


def test_on_a_smooth_surface_nothing_is_taken_to_be_hidden() -> None:
    rng = np.random.default_rng(1)
    plain = [cut(np.full((SIZE, SIZE, 1), int(rng.integers(90, 160)), dtype=np.uint8), spot(rng, 0, 1)[1], 1) for _ in range(5)]
    assert opacities(plain) == [0.0] * 5


def dots(n: int, *, opaque: float, own: float, apart: float = 60.0, seed: int = 0) -> list[Patch]:
    """Dots with texture of their own, too small to tell by it, on surfaces whose colours differ by up to `apart`."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        base = np.broadcast_to(120.0 + rng.uniform(0, apart, 3), (SIZE, SIZE, 3)) + rng.normal(0, 3, (SIZE, SIZE, 1))
        mark = np.zeros((SIZE, SIZE), dtype=bool)
        mark[30:36, 28:34] = True
        colour = 30.0 + rng.normal(0, 4) + rng.normal(0, own, (SIZE, SIZE, 1))
        shown = (1 - opaque) * (base - 70.0) + opaque * colour
        out.append(cut(np.where(mark[:, :, None], shown, base).clip(0, 255).astype(np.uint8), mark, 1))
    return out


@pytest.mark.parametrize(("opaque", "low", "high"), [(1.0, 0.85, 1.0), (0.6, 0.45, 0.75), (0.0, 0.0, 0.0)])
def test_colours_tell_how_much_defects_hide_that_texture_says_nothing_of(opaque: float, low: float, high: float) -> None:
    assert low <= np.mean(opacities(dots(10, opaque=opaque, own=8.0))) <= high


def test_few_defects_or_surfaces_all_alike_say_nothing_by_their_colours() -> None:
    assert opacities(dots(3, opaque=1.0, own=8.0)) == [0.0] * 3
    found = [max(opacities(dots(6, opaque=0.0, own=8.0, apart=a, seed=s))) for s in range(40) for a in (2.0, 60.0)]
    assert np.mean(np.array(found) > 0) <= 0.06


def cloth(n: int = 6, goods: int = 20) -> Dataset:
    rng = np.random.default_rng(3)
    made = [(np.clip(weave(rng), 0, 255).astype(np.uint8), np.zeros((SIZE, SIZE), dtype=bool)) for _ in range(goods)]
    made += [spot(rng, 20.0, 1.0, soft=2.0) for _ in range(n)]
    names = ["normal"] * goods + ["hole"] * n
    return as_dataset(np.stack([p for p, _ in made]), names, [m for _, m in made], ("normal", "hole"))


def test_a_hole_stays_a_hole_on_any_cloth_with_its_soft_edge_and_a_mark_as_tight(tmp_path: Path) -> None:
    data = cloth()
    model = Paste().fit(data, seed=0)
    model.save(tmp_path / "model")
    batches = list(model.sample(16, where={"class": "hole"}, seed=1))
    again = list(Paste.load(tmp_path / "model").sample(16, where={"class": "hole"}, seed=1))
    assert batches == again
    made, real = (
        pictures(Dataset(pa.Table.from_batches(batches), schema(("normal", "hole")))), pictures(data).of("hole"),
    )  # fmt: skip
    for side in (made, real):
        cores = [p[ndimage.binary_erosion(m, iterations=3)] for p, m in zip(side.pixels, side.masks, strict=True)]
        assert max(float(c.mean()) for c in cores) < 45 and np.median([c.std() for c in cores]) < 6
    own, drawn = real.masks.sum(axis=(1, 2)), made.masks.sum(axis=(1, 2))
    assert 0.5 * own.min() < drawn.min() and np.median(drawn) < 1.3 * np.median(own)
    good = dict(zip(pictures(data).sources or (), pictures(data).pixels, strict=True))
    for pixels, mask, source in zip(made.pixels, made.masks, made.sources or (), strict=True):
        changed = (pixels != good[source]).any(axis=2)
        assert changed[~mask].any() and not changed[~ndimage.binary_dilation(mask, iterations=6)].any()


@pytest.mark.parametrize("soft", [True, False])
def test_a_denoiser_paints_the_soft_edge_beyond_the_mark_unless_told_not_to(soft: bool) -> None:
    data = cloth()
    model = FineTune(steps=2, pretrain_steps=2, batch_size=4, width=8, device="cpu", look_every=0, soft_edge=soft)
    batches = list(model.fit(data, seed=0).sample(6, where={"class": "hole"}, seed=1))
    made = pictures(Dataset(pa.Table.from_batches(batches), schema(("normal", "hole"))))
    good = dict(zip(pictures(data).sources or (), pictures(data).pixels, strict=True))
    outside = 0
    for pixels, mask, source in zip(made.pixels, made.masks, made.sources or (), strict=True):
        changed = (pixels != good[str(source)]).any(axis=2)
        outside += int(changed[~mask].sum())
        assert not changed[~ndimage.binary_dilation(mask, iterations=4)].any()
    assert (outside > 0) == soft
