"""Does every family of pictures keep the one contract, whatever it is?"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from configs.components import families
from data.dataset import Dataset
from data.errors import UserError
from data.images import Pictures, batch, pictures, schema
from generators.base import Generator, table
from tests.conftest import mixed_table
from tests.generators.pictures import CLASSES, as_dataset, shapes

#: Settings that make any family quick; a family takes those it has.
QUICK: dict[str, Any] = {
    "steps": 6, "batch_size": 8, "width": 8, "latent": 8, "checkpoint_seconds": 0.0, "device": "cpu", "look_every": 3,
    "pretrain_steps": 6,
}  # fmt: skip
FAMILIES = {name: cls for name, cls in families("generators", Generator).items() if cls.modality == "image"}
#: Families that learn whole pictures: nothing that has pictures and classes may be refused.
WHOLE = {"image.gan", "image.diffusion", "image.vae"} & set(FAMILIES)

every_family = pytest.mark.parametrize("name", sorted(FAMILIES))


def make(name: str) -> Any:
    cls = FAMILIES[name]
    return cls(**{f.name: QUICK[f.name] for f in fields(cls) if f.name in QUICK})


def rows(model: Any, n: int, **how: Any) -> pa.Table:
    return table(model.sample(n, **how), schema(CLASSES).arrow())


def seen(drawn: pa.Table) -> Pictures:
    return pictures(Dataset(drawn, schema(CLASSES)))


@pytest.fixture(scope="module")
def tiny() -> Dataset:
    return shapes()


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    return {}


def trained(fitted: dict[str, Any], name: str, tiny: Dataset) -> Any:
    """One fit a family for all tests that only draw."""
    if name not in fitted:
        fitted[name] = make(name).fit(tiny, seed=0)
    return fitted[name]


@every_family
def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(
    name: str, tiny: Dataset, fitted: dict[str, Any]
) -> None:
    model = trained(fitted, name, tiny)
    assert rows(model, 12, seed=1).equals(rows(model, 12, seed=1))
    assert not (seen(rows(model, 12, seed=1)).pixels == seen(rows(model, 12, seed=2)).pixels).all()


@every_family
def test_fitting_twice_gives_one_model_and_leaves_global_randomness_alone(
    name: str, tiny: Dataset, fitted: dict[str, Any]
) -> None:
    first = rows(trained(fitted, name, tiny), 8, seed=3)
    np.random.seed(5)
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert rows(make(name).fit(tiny, seed=0), 8, seed=3).equals(first)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])


@every_family
def test_loading_what_was_saved_draws_the_same(name: str, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path) -> None:
    model = trained(fitted, name, tiny)
    model.save(tmp_path / "model")
    loaded = FAMILIES[name].load(tmp_path / "model")
    assert loaded == model
    assert rows(loaded, 8, seed=5, where={"class": "dot"}).equals(rows(model, 8, seed=5, where={"class": "dot"}))
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file() and path.name != "envelope.json"]
    files[0].write_bytes(files[0].read_bytes() + b" ")
    with pytest.raises(UserError):
        FAMILIES[name].load(tmp_path / "model")


@every_family
@pytest.mark.parametrize("wanted", CLASSES)
def test_every_picture_is_of_the_class_that_is_asked_for(name: str, wanted: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    try:
        drawn = rows(trained(fitted, name, tiny), 7, where={"class": wanted}, seed=2)
    except UserError as error:  # what is painted on good pictures is never one of those
        assert wanted == "normal" and FAMILIES[name].paints and "\n" not in str(error)
        return
    assert drawn.column("class").to_pylist() == [wanted] * 7


@every_family
def test_size_mode_masks_and_columns_are_those_of_train(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    drawn = rows(trained(fitted, name, tiny), 30, seed=4)
    assert drawn.schema == tiny.schema.arrow()
    found = seen(drawn)
    assert found.pixels.shape == (30, 16, 16, 1) and found.pixels.dtype == np.uint8
    assert set(drawn.column("class").to_pylist()) <= set(CLASSES)
    assert found.masked.all()
    assert not found.masks[found.labels == CLASSES.index("normal")].any()
    assert drawn.column("seed").null_count == 0
    assert len(set(cell["path"] for cell in drawn.column("image").to_pylist())) == 30
    for cell, mask in zip(drawn.column("objects").to_pylist(), found.masks, strict=True):
        covered = np.zeros_like(mask)
        for x, y, w, h in cell["bbox"]:
            covered[int(y) : int(y + h), int(x) : int(x + w)] = True
        assert (covered | ~mask).all()


@every_family
def test_exactly_n_pictures_in_batches(name: str, tiny: Dataset, fitted: dict[str, Any]) -> None:
    model = trained(fitted, name, tiny)
    sizes = [part.num_rows for part in model.sample(260, where={"class": "line"}, seed=0)]
    assert sum(sizes) == 260 and len(sizes) > 1
    assert rows(model, 0, seed=0).num_rows == 0


class Killed(Exception):
    pass


class KillAfter:
    """A progress that ends the process, so to speak, after some reports."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def advance(self, done: int, total: int, what: str, **figures: float) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@every_family
@pytest.mark.parametrize("reports", [0, 1])
def test_a_killed_fit_goes_on_and_ends_as_an_uninterrupted_one(
    name: str, reports: int, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path
) -> None:
    model = make(name)
    try:
        model.fit(tiny, seed=0, progress=KillAfter(reports), checkpoint=tmp_path)
    except Killed:
        model = make(name).fit(tiny, seed=0, checkpoint=tmp_path)
    assert rows(model, 10, seed=1).equals(rows(trained(fitted, name, tiny), 10, seed=1))


@every_family
def test_a_checkpoint_of_other_pictures_is_not_taken_up(
    name: str, tiny: Dataset, fitted: dict[str, Any], tmp_path: Path
) -> None:
    make(name).fit(shapes(seed=1), seed=0, checkpoint=tmp_path)
    again = make(name).fit(tiny, seed=0, checkpoint=tmp_path)
    assert rows(again, 6, seed=1).equals(rows(trained(fitted, name, tiny), 6, seed=1))


def pictured(kind: str) -> Dataset:
    """Sets of pictures that are awkward in one way each."""
    if kind == "one picture a class":
        return shapes((1, 1, 1))
    if kind == "one picture":
        return shapes((1, 0, 0))
    if kind == "one class":
        return shapes((10,), classes=("dot",))
    if kind == "no normal class":
        return shapes((6, 6), classes=("dot", "line"))
    if kind == "a class without pictures":
        return shapes((8, 8, 0))
    if kind == "colour":
        return shapes((6, 4, 4), channels=3)
    if kind == "no masks":
        return shapes((6, 4, 4), masks=False)
    if kind == "masks of some":
        whole = pictures(shapes((6, 4, 4)))
        marks = [mask if i % 2 else None for i, mask in enumerate(whole.masks)]
        return as_dataset(whole.pixels, [whole.classes[k] for k in whole.labels], marks, CLASSES)
    if kind == "constant":
        names = ["normal"] * 5 + ["dot"] * 5
        return as_dataset(np.full((10, 16, 16, 1), 128, dtype=np.uint8), names, None, CLASSES)
    return shapes((6, 4, 4), size=20) if kind == "20 pixels" else shapes((6, 4, 4), size=8)


AWKWARD = (
    "one picture a class",
    "one picture",
    "one class",
    "no normal class",
    "a class without pictures",
    "colour",
    "no masks",
    "masks of some",
    "constant",
    "20 pixels",
    "8 pixels",
)


@every_family
@pytest.mark.parametrize("kind", AWKWARD)
def test_awkward_pictures_work_or_fail_with_one_sentence(name: str, kind: str) -> None:
    data = pictured(kind)
    try:
        drawn = table(make(name).fit(data, seed=0).sample(6, seed=0), data.schema.arrow())
    except UserError as error:
        sentence = str(error)
        assert name not in WHOLE and kind != "colour", sentence
        assert sentence and "\n" not in sentence and len(sentence) < 250
        return
    found, real = pictures(Dataset(drawn, data.schema)), pictures(data)
    assert found.pixels.shape == (6, *real.pixels.shape[1:])
    assert set(found.labels) <= set(real.labels)
    if name in WHOLE:
        assert found.masked.all() if kind not in ("no masks", "constant") else not found.masked.any()
    if kind == "constant" and name in WHOLE:
        assert abs(found.pixels.astype(int) - 128).mean() < 60


@every_family
def test_nothing_and_rows_of_a_table_are_refused_with_one_sentence(name: str) -> None:
    for data in (Dataset.from_arrow(mixed_table(30), target="label"), empty()):
        with pytest.raises(UserError) as caught:
            make(name).fit(data, seed=0)
        assert "\n" not in str(caught.value)


def empty() -> Dataset:
    none = batch(np.zeros((0, 16, 16, 1), dtype=np.uint8), [], names=[])
    return Dataset(pa.Table.from_batches([none]), schema(CLASSES))


@every_family
@pytest.mark.parametrize("where", [{"nowhere": 1}, {"class": "unheard of"}, {"class": "dot", "mask": None}], ids=str)
def test_an_impossible_condition_is_one_sentence(
    name: str, where: dict[str, Any], tiny: Dataset, fitted: dict[str, Any]
) -> None:
    with pytest.raises(UserError) as caught:
        list(trained(fitted, name, tiny).sample(3, where=where, seed=0))
    assert "\n" not in str(caught.value)


@every_family
def test_a_class_without_training_pictures_cannot_be_asked_for(name: str) -> None:
    try:
        model = make(name).fit(shapes((8, 8, 0)), seed=0)
    except UserError:
        assert name not in WHOLE
        return
    with pytest.raises(UserError, match="line"):
        list(model.sample(3, where={"class": "line"}, seed=0))
