"""Are copies of a picture found, however they were made over, and distinct pictures of one kind left apart?"""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from data import near


def parts(count: int, kinds: int = 1, *, own: float = 25.0, seed: int = 0) -> np.ndarray:
    """Pictures of aligned parts: each kind has one strong layout, each part a texture of its own and the camera's noise."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(kinds):
        layout = np.where(gaussian_filter(rng.normal(0, 1, (64, 64)), 4) > 0, 190.0, 90.0)
        for _ in range(count):
            texture = gaussian_filter(rng.normal(0, 1, (64, 64)), 1.0) * 3.5 * own
            out.append(layout + texture + rng.normal(0, 2, (64, 64)) + rng.normal(0, 6))
    return np.clip(np.stack(out), 0, 255).astype(np.uint8)[..., None]


def jpeg(one: np.ndarray) -> np.ndarray:
    out = io.BytesIO()
    Image.fromarray(one[:, :, 0]).save(out, "JPEG", quality=50)
    return np.asarray(Image.open(out))[:, :, None]


COPIES = {
    "dimmed": lambda one: (one * 0.8 + 10).astype(np.uint8),
    "jpeg": jpeg,
    "noise": lambda one: np.clip(one + np.random.default_rng(0).normal(0, 5, one.shape), 0, 255).astype(np.uint8),
    "halved": lambda one: np.asarray(Image.fromarray(one[:, :, 0]).resize((32, 32)).resize((64, 64)))[:, :, None],
    "shifted": lambda one: np.roll(one, (1, -2), (0, 1)),
    "identical": lambda one: one,
}


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found_and_nothing_else(how):
    pictures = parts(12, kinds=4)
    copies = np.stack([COPIES[how](one) for one in pictures[::6]])
    found = near.groups_of(np.concatenate([pictures, copies]))
    assert found.joined == 2 * len(copies)
    for i in range(len(copies)):
        assert found.groups[48 + i] == found.groups[6 * i] is not None
    assert sum(name is None for name in found.groups) == 48 - len(copies)
    assert len(set(found.groups) - {None}) == len(copies)


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("own", [25.0, 4.0, 0.0])
def test_parts_of_one_kind_are_no_copies(kinds, own):
    assert near.groups_of(parts(90 // kinds, kinds, own=own)).joined == 0


def test_even_textures_are_no_copies():
    rng = np.random.default_rng(0)
    brushed = [gaussian_filter(rng.normal(0, 1, (64, 64)), (0.5, 12)) * 300 + 128 for _ in range(200)]
    assert near.groups_of(np.clip(np.stack(brushed), 0, 255).astype(np.uint8)).joined == 0


def test_any_size_and_mode_and_the_same_answer_twice():
    pictures = np.repeat(parts(20), 3, axis=3)
    large = np.stack([np.asarray(Image.fromarray(one).resize((96, 96))) for one in pictures])
    both = np.concatenate([large, large[:1]])
    assert near.groups_of(both) == near.groups_of(both)
    assert near.groups_of(both).groups[0] == near.groups_of(both).groups[-1] == "alike-00001"


def test_known_groups_are_joined_and_keep_the_first_name():
    pictures = parts(10)
    with_copy = np.concatenate([pictures, pictures[:1]])
    known = ["a", "b", "b", None, None, None, None, None, None, None, "b"]
    found = near.groups_of(with_copy, known)
    assert found.groups == ("a", "a", "a", None, None, None, None, None, None, None, "a")
    assert "2 pictures" in found.notices[0]
    assert near.groups_of(pictures, known[:10]).groups == tuple(known[:10])


def test_new_names_meet_no_known_one():
    pictures = parts(10)
    known = [None] * 9 + ["alike-00001", None]
    assert near.groups_of(np.concatenate([pictures, pictures[:1]]), known).groups[0] == "alike-00002"


def test_flat_pictures_tie_nothing_together():
    pictures = np.concatenate([parts(8), np.full((6, 64, 64, 1), 255, np.uint8)])
    assert set(near.groups_of(pictures).groups) == {None}


def test_a_chain_that_would_swallow_the_set_is_cut():
    pictures = parts(60)
    # Each part is photographed twice, once in the series of its own day and once in that of the next.
    again = np.stack([COPIES["halved"](COPIES["noise"](one)) for one in pictures])
    days = [f"day{i // 6}" for i in range(60)] + [f"day{(i // 6 + 1) % 10}" for i in range(60)]
    found = near.groups_of(np.concatenate([pictures, again]), days)
    assert set(found.groups) == set(days)
    assert any("would tie 120 of 120" in said for said in found.notices)
    assert near.groups_of(np.concatenate([pictures, again])).joined > 100


def test_identical_ones_are_joined_without_a_look_at_what_is_alike():
    pictures = parts(10)
    more = np.concatenate([pictures, pictures[:1], COPIES["dimmed"](pictures[1:2])])
    assert near.groups_of(more, alike=False).joined == 2
    assert near.groups_of(more, keys=[str(i) for i in range(12)], alike=False).joined == 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pictures(n):
    assert near.groups_of(parts(3)[:n]).groups == (None,) * n


def test_a_notice_names_the_first_groups_and_counts_the_others():
    pictures = parts(40, 1)
    both = np.concatenate([pictures, pictures[:5], pictures[:1], pictures[:1]])
    found = near.groups_of(both, names=[f"{i}.png" for i in range(len(both))], alike=False)
    assert found.notices == (
        "Kept together because they show the same or nearly so: 12 pictures (groups: 5): "
        "0.png = 40.png = 45.png and 1 more; 1.png = 41.png; 2.png = 42.png; and 2 more groups.",
    )
