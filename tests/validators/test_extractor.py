"""Is what pictures are compared by the same everywhere, and is it fit for what it is for?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import DataError
from data.images import Pictures
from tests.validators.picture_sets import changed, even, made
from validators import extractor as ex
from validators._pictures_crops import Seen, marks

Array = np.ndarray
#: All weights are drawn by numpy from a fixed seed: another digest would mean that reports no longer compare.
LOOKS = "c714e58b65821a6020feee904a24b81e446d25eb2b4a0a4d7027c1861c19bee2"
TRACES = "ecc58409108c2e78331a73af923beeffbd168663dae6e52d03f0b70ab31173b9"


def none(held: Pictures) -> Array:
    return np.zeros_like(held.masks)


def test_the_fixed_nets_are_the_same_everywhere() -> None:
    assert ex.random(64).digest == LOOKS
    assert ex.traces_digest() == TRACES
    assert ex.random(24).digest != LOOKS  # small pictures stand on a smaller canvas


def test_features_are_as_they_were() -> None:
    """Golden: a picture without chance, looked at as a whole and by a mark."""
    y, x = np.mgrid[:32, :32]
    picture = ((y * 7 + x * x) % 256).astype(np.uint8)[None, :, :, None]
    mark = np.zeros((1, 32, 32), dtype=bool)
    mark[0, 5:15, 8:14] = True
    seen = [ex.features(ex.random(32), picture, part) for part in (np.zeros_like(mark), mark)]
    kept = [ex.traces(picture, part) for part in (np.zeros_like(mark), mark)]
    found = [float(np.abs(part).mean()) for part in (*seen, *kept)]
    assert found == pytest.approx(GOLDEN, rel=1e-4)


GOLDEN = [0.10606652, 0.08983586, 0.13429826, 0.09624437]


@pytest.mark.parametrize("size", [8, 16, 33, 64, 100])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_mode(size: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, size, size, channels), dtype=np.uint8)
    masks = np.zeros((3, size, size), dtype=bool)
    masks[1, 2:5, 3:6] = True
    found = ex.features(ex.random(size), pixels, masks)
    assert found.shape == (3, 888) and np.isfinite(found).all()
    assert ex.traces(pixels, masks).shape == (3, 216)


def test_gray_is_colour_of_three_equal_channels() -> None:
    held = made(even(3), 0)
    net = ex.random(held.size)
    gray, rgb = (ex.features(net, pixels, held.masks) for pixels in (held.pixels, np.repeat(held.pixels, 3, axis=3)))
    assert gray == pytest.approx(rgb, abs=1e-4)


def test_light_and_contrast_do_not_change_what_is_seen() -> None:
    held = made(even(4), 0)
    dimmed = (held.pixels * 0.8 + 20).astype(np.float64)
    first, second = (ex.features(ex.random(24), p, none(held)) for p in (held.pixels, np.round(dimmed).astype(np.uint8)))
    apart = np.linalg.norm(first[:, None] - first[None], axis=2)
    assert np.linalg.norm(first - second, axis=1).max() < 0.2 * np.median(apart[apart > 0])


def test_a_mirrored_picture_has_the_same_traces_and_another_look() -> None:
    held = made(even(4), 1, size=32)
    for axes in ((1,), (2,), (1, 2)):
        turned = np.flip(held.pixels, axes).copy()
        assert ex.traces(turned, none(held)) == pytest.approx(ex.traces(held.pixels, none(held)), abs=1e-4)
    assert (
        np.abs(ex.features(ex.random(32), turned, none(held)) - ex.features(ex.random(32), held.pixels, none(held))).max() > 0.1
    )


@pytest.mark.parametrize("how", ["s", "b", "n", "fsbn"])
def test_a_changed_picture_is_nearer_to_its_origin_than_to_any_other(how: str) -> None:
    held = made({"pit": 40}, 2, size=48)
    again = changed(held, how)
    seen = Seen(by_marks=frozenset(held.classes))
    kept, moved = (ex.traces(side.pixels, marks(side, seen)) for side in (held, again))
    spread = np.maximum(kept.std(axis=0), 1e-6)
    apart = np.linalg.norm((moved[:, None] - kept[None]) / spread, axis=2)
    assert (apart.argmin(axis=1) == np.arange(40)).mean() >= 0.95


def test_classes_are_told_apart_by_the_neighbours_of_their_features() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = (made(even(40), seed) for seed in (3, 4))
    seen = Seen(by_marks=frozenset({"pit", "line"}))
    sides = [ex.features(ex.random(24), side.pixels, marks(side, seen)) for side in (train, test)]
    whole = [ex.features(ex.random(24), side.pixels, none(side)) for side in (train, test)]
    shares = []
    for first, second in (sides, whole):
        width = first.std(axis=0) + 1e-6
        guess = KNeighborsClassifier(5).fit(first / width, train.labels).predict(second / width)
        shares.append(float((guess == test.labels).mean()))
    assert shares[0] >= 0.95 and shares[1] >= 0.7


def test_the_surroundings_of_a_mark_count_little() -> None:
    """A pit on another ground is nearer to itself than to another pit on its own ground."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:32, :32]
    grounds = [rng.normal(120, 10, (32, 32)), np.repeat(rng.normal(130, 14, (32, 1)), 32, axis=1)]
    pits = [(np.hypot(y - 16, x - 16) < 5, -50.0), ((np.abs(y - 16) < 2) & (np.abs(x - 16) < 8), 60.0)]
    pixels = np.stack([np.where(mask, ground + depth, ground) for mask, depth in pits for ground in grounds])[:, :, :, None]
    masks = np.repeat(np.stack([mask for mask, _ in pits]), 2, axis=0)
    found = ex.features(ex.random(32), np.clip(pixels, 0, 255).astype(np.uint8), masks)
    found = found / (found.std(axis=0) + 1e-6)
    apart = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert apart[0, 1] < apart[0, 2] and apart[2, 3] < apart[1, 3]


# --- other extractors


def test_trained_learns_from_train_alone_and_leaves_chance_as_it_was() -> None:
    train = made(even(10), 6)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again = (ex.load("trained", train, seed=1) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.digest == again.digest != ex.random(train.size).digest
    assert first.digest != ex.load("trained", train, seed=2).digest
    assert np.isfinite(ex.features(first, train.pixels, train.masks)).all()
    one = ex.load("trained", made({"pit": 12}, 6, classes=("pit",)))
    assert np.isfinite(ex.features(one, train.pixels, none(train))).all()


def test_trained_tells_its_classes_better_than_chance_did() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    train, test = (made(even(40), seed, masked=False) for seed in (7, 8))
    shares = []
    for name in ("random", "trained"):
        net = ex.load(name, train)
        first, second = (ex.features(net, side.pixels, none(side)) for side in (train, test))
        width = first.std(axis=0) + 1e-6
        guess = KNeighborsClassifier(5).fit(first / width, train.labels).predict(second / width)
        shares.append(float((guess == test.labels).mean()))
    assert shares[1] > shares[0]


def test_a_local_transformers_model(tmp_path: Path) -> None:
    from transformers import Dinov2Config, Dinov2Model

    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    torch.manual_seed(0)
    Dinov2Model(config).save_pretrained(tmp_path / "dino")
    held = made(even(3), 0)
    found = ex.load(str(tmp_path / "dino"), held)
    assert ex.features(found, held.pixels, held.masks).shape == (9, 16)
    assert ex.load(str(tmp_path / "dino"), held).digest == found.digest
    (tmp_path / "dino/preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}')
    other = ex.load(str(tmp_path / "dino"), held)
    assert other.digest != found.digest
    assert not np.allclose(ex.features(other, held.pixels, held.masks), ex.features(found, held.pixels, held.masks))


class Pooled(torch.nn.Module):
    """Maps of a picture, or nonsense."""

    def __init__(self, sense: bool = True) -> None:
        super().__init__()
        self.sense = sense
        self.filters = torch.nn.Conv2d(3, 5, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.filters(x) if self.sense else x * float("nan")


def test_a_torchscript_model(tmp_path: Path) -> None:
    held = made(even(2), 0, channels=3)
    torch.jit.script(Pooled()).save(str(tmp_path / "net.pt"))
    found = ex.load(str(tmp_path / "net.pt"), held)
    assert ex.features(found, held.pixels, none(held)).shape == (6, 5)
    torch.jit.script(Pooled(False)).save(str(tmp_path / "nonsense.pt"))
    with pytest.raises(DataError, match="finite features"):
        ex.features(ex.load(str(tmp_path / "nonsense.pt"), held), held.pixels, none(held))


def test_what_is_no_extractor_is_refused(tmp_path: Path) -> None:
    held = made(even(2), 0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/config.json").write_text('{"model_type": "no such type"}')
    (tmp_path / "text.pt").write_text("no model")
    for stated, said in {
        "resnet50": "nothing is fetched",
        str(tmp_path / "empty"): "no config.json",
        str(tmp_path / "odd"): "cannot be loaded by transformers",
        str(tmp_path / "text.pt"): "is no TorchScript model",
    }.items():
        with pytest.raises(DataError, match=said) as error:
            ex.load(stated, held)
        assert "gate.extractor" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(DataError, match="too small"):
        ex.features(ex.random(4), np.zeros((1, 4, 4, 1), np.uint8), np.zeros((1, 4, 4), bool))
