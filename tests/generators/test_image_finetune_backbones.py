"""Are diffusers checkpoints tuned, saved and loaded as any diffusers pipeline would have it?"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from data.dataset import Dataset
from data.images import Pictures, pictures, schema
from generators.base import GeneratorError, table
from generators.image import _backbone, _lora
from generators.image._encoded import edges
from generators.image._pixel import adapted
from generators.image.finetune import FineTune
from tests.generators import tiny_backbones as tiny
from tests.generators.pictures import CLASSES, shapes

QUICK: dict[str, Any] = {"steps": 3, "batch_size": 4, "device": "cpu", "evaluations": 4, "rank": 2, "prior_pictures": 3}


def drawn(model: FineTune, n: int, **how: Any) -> tuple[pa.Table, Pictures]:
    rows = table(model.sample(n, **how), schema(CLASSES).arrow())
    return rows, pictures(Dataset(rows, schema(CLASSES)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("backbones")
    return {
        "pixel": str(tiny.pixel_pipeline(root / "pixel", channels=3)),
        "bare": str(tiny.bare_unet(root / "bare", channels=1, classes=2)),
        "text": str(tiny.stable_diffusion(root / "text")),
        "wide": str(tiny.stable_diffusion(root / "wide", cross=16)),
        "inpaint": str(tiny.stable_diffusion(root / "inpaint", inpaint=True)),
        "control": str(tiny.control_net(root / "control")),
        "other control": str(tiny.control_net(root / "other", cross=16)),
    }


@pytest.fixture(scope="module")
def train() -> Dataset:
    return shapes((8, 5, 4))


WAYS = {
    "pixel, all weights": {"backbone": "pixel"},
    "pixel, adapters": {"backbone": "pixel", "method": "lora"},
    "bare, of other classes": {"backbone": "bare"},
    "text": {"backbone": "text", "guidance": 2.0},
    "text, all weights": {"backbone": "text", "method": "full", "prior_weight": 0.0},
    "text, control trained": {"backbone": "text", "control": "train"},
    "text, control given": {"backbone": "text", "control": "control"},
    "text, control on edges": {"backbone": "text", "control": "train", "control_on": "edges"},
    "inpaint": {"backbone": "inpaint"},
    "inpaint, control given": {"backbone": "inpaint", "control": "control"},
    "inpaint, control trained": {"backbone": "inpaint", "control": "train", "prior_weight": 0.0},
}
MASKED = {
    name
    for name in WAYS
    if name.startswith(("pixel", "bare", "inpaint")) or name in ("text, control trained", "text, control given")
}


def made(folders: dict[str, str], name: str, **more: Any) -> FineTune:
    how = {key: folders.get(value, value) if key in ("backbone", "control") else value for key, value in WAYS[name].items()}
    return FineTune(**{**QUICK, **how, **more})


@pytest.fixture(scope="module")
def fitted() -> dict[str, FineTune]:
    return {}


def once(fitted: dict[str, FineTune], folders: dict[str, str], train: Dataset, name: str) -> FineTune:
    if name not in fitted:
        fitted[name] = made(folders, name).fit(train, seed=0)
    return fitted[name]


@pytest.mark.parametrize("name", WAYS)
def test_every_way_draws_saves_and_draws_the_same(
    name: str, folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    model = once(fitted, folders, train, name)
    rows, found = drawn(model, 4, where={"class": "dot"}, seed=1)
    assert found.pixels.shape == (4, 16, 16, 1)
    assert found.masked.all() == (name in MASKED)
    if name.startswith("inpaint") or "edges" in name:
        assert rows.column("source").null_count == 0
    model.save(tmp_path / "model")
    again = FineTune.load(tmp_path / "model")
    assert again == model
    assert drawn(again, 4, where={"class": "dot"}, seed=1)[0].equals(rows)
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("name", ["pixel, adapters", "text", "text, control trained", "inpaint"])
def test_a_killed_fit_ends_as_an_uninterrupted_one_and_encodes_once(
    name: str, folders: dict[str, str], train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    class KillFirst:
        def advance(self, done: int, total: int, what: str, **figures: float) -> None:
            raise Killed

    how = {"steps": 11, "checkpoint_seconds": 0.0}
    whole = made(folders, name, **how).fit(train, seed=0)
    with pytest.raises(Killed):
        made(folders, name, **how).fit(train, seed=0, progress=KillFirst(), checkpoint=tmp_path)
    step = torch.load(tmp_path / "training.pt", weights_only=False)["step"]
    assert 0 < step < 11
    if "pixel" not in name:
        assert (tmp_path / "latents.pt").is_file()
        monkeypatch.setattr("generators.image._stable.Latent.encode", None)  # the cache must do
    again = made(folders, name, **how).fit(train, seed=0, checkpoint=tmp_path)
    for key, value in _lora.trained(whole.way_.unet).items():
        assert torch.equal(value, _lora.trained(again.way_.unet)[key]), key


def test_tuning_changes_what_is_trained_and_nothing_else(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune]
) -> None:
    unet = once(fitted, folders, train, "text").way_.unet
    came = _backbone.stable(Path(folders["text"]), "text").unet.state_dict()
    state = {name.replace("base_layer.", ""): value for name, value in unet.state_dict().items() if "lora_" not in name}
    assert all(torch.equal(state[name], value) for name, value in came.items()) and len(came) == len(state)
    new = {name: value for name, value in unet.state_dict().items() if "lora_B" in name}
    assert new and all(float(value.abs().max()) > 0 for value in new.values())  # they begin at zero


def test_a_plain_pipeline_loads_the_adapters_and_asks_the_same(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    from diffusers import StableDiffusionPipeline

    model = once(fitted, folders, train, "text")
    model.save(tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(folders["text"], safety_checker=None)
    x, t, words = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([40]), model.way_.words[:1]
    with torch.no_grad():
        bare = pipe.unet(x, t, encoder_hidden_states=words).sample
        pipe.load_lora_weights(str(tmp_path))
        tuned = pipe.unet(x, t, encoder_hidden_states=words).sample
        own = model.way_.unet(x, t, encoder_hidden_states=words).sample
    torch.testing.assert_close(tuned, own)
    assert not torch.allclose(tuned, bare)


def test_training_can_begin_with_the_adapters_of_a_plain_pipeline(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    once(fitted, folders, train, "text").save(tmp_path / "first")
    start = str(tmp_path / "first")
    model = made(folders, "text", lora=start, steps=1, lr=0.0).fit(train, seed=0)
    first = _lora.trained(once(fitted, folders, train, "text").way_.unet)
    assert all(torch.equal(value, first[name]) for name, value in _lora.trained(model.way_.unet).items())


def test_pixels_outside_the_mask_stay_when_stable_diffusion_paints(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune]
) -> None:
    rows, found = drawn(once(fitted, folders, train, "inpaint"), 12, where={"class": "line"}, seed=2)
    real = pictures(train)
    for i, source in enumerate(rows.column("source").to_pylist()):
        moved = (found.pixels[i] != real.pixels[real.sources.index(source)]).any(axis=2)
        assert not (moved & ~found.masks[i]).any() and moved.any()


def test_a_given_control_net_steers_and_comes_along(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    model = once(fitted, folders, train, "text, control given")
    way, noise = model.way_, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = [
            way._ask(
                noise, torch.tensor([50]), torch.tensor([1]), {"shape": torch.full((1, 1, 16, 16), value, dtype=torch.uint8)}
            )
            for value in (0, 255)
        ]
    assert not torch.allclose(*told)
    model.save(tmp_path / "model")
    model.control = str(tmp_path / "gone")  # the saved model must not need the folder that the plan named
    again = FineTune.load(tmp_path / "model")
    assert drawn(again, 2, seed=0)[1].pixels.shape[0] == 2


def test_prior_pictures_are_drawn_by_the_backbone_as_it_came(folders: dict[str, str], train: Dataset, tmp_path: Path) -> None:
    made(folders, "text").fit(train, seed=0, checkpoint=tmp_path)
    rows = torch.load(tmp_path / "latents.pt", weights_only=True)["rows"]
    prior = rows["label"] == len(CLASSES)
    assert int(prior.sum()) == 3 and (rows["worth"][prior] == 0.5).all() and (rows["worth"][~prior] == 1).all()
    assert rows["x"].dtype == torch.float16


@pytest.mark.parametrize(("own", "channels"), [(1, 1), (1, 3), (3, 3), (3, 4), (1, 2)])
def test_a_widened_unet_draws_what_it_drew(own: int, channels: int) -> None:
    unet = tiny.pixel_unet(channels=own).eval()
    wide = adapted(unet, channels, 4).eval()
    gray = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    x = gray.expand(-1, own, -1, -1)
    seen = torch.cat([gray.expand(-1, min(channels, 3) if channels != 2 else 1, -1, -1)], dim=1)
    if seen.shape[1] < channels:
        seen = torch.cat([seen, torch.randn(2, 1, 16, 16)], dim=1)
    with torch.no_grad():
        came, now = unet(x, 30).sample, wide(seen, 30, class_labels=torch.tensor([0, 3])).sample
    colours = min(channels, 3) if channels != 2 else 1
    torch.testing.assert_close(now[:, :colours], came.expand(-1, colours, -1, -1), atol=1e-5, rtol=1e-4)


def test_colour_pictures_go_through_a_gray_backbone(folders: dict[str, str]) -> None:
    data = shapes((4, 3, 3), channels=3, size=20)
    model = made(folders, "bare, of other classes").fit(data, seed=0)
    assert drawn(model, 3, seed=0)[1].pixels.shape == (3, 20, 20, 3)


def test_training_with_gradient_checkpointing_ends_the_same(folders: dict[str, str], train: Dataset) -> None:
    a, b = (made(folders, "text", checkpointing=saving, prior_weight=0.0).fit(train, seed=0) for saving in (False, True))
    for name, value in _lora.trained(a.way_.unet).items():
        torch.testing.assert_close(value, _lora.trained(b.way_.unet)[name])


def test_edges_stand_where_brightness_steps() -> None:
    picture = np.full((1, 32, 32, 1), 60, dtype=np.uint8)
    picture[0, :, 16:] = 200
    found = edges(picture)[0]
    assert found[:, 15:17].all() and not found[:, :12].any() and not found[:, 20:].any()
    assert not edges(np.full((1, 32, 32, 1), 60, dtype=np.uint8)).any()


def wrong(folders: dict[str, str], root: Path) -> dict[str, tuple[dict[str, Any], str]]:
    (root / "empty").mkdir()
    (root / "other").mkdir()
    (root / "other" / "model_index.json").write_text('{"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}')
    tiny.pixel_pipeline(root / "broken")
    next((root / "broken" / "unet").glob("*.safetensors")).write_bytes(b"no weights")
    (root / "bad.safetensors").write_bytes(b"no adapters")
    (root / "odd").mkdir()
    (root / "odd" / "model_index.json").write_text('{"_class_name": "X", "unet": "y"}')
    shutil.copytree(folders["text"], root / "wordless")
    shutil.rmtree(root / "wordless" / "tokenizer")
    return {
        "no such folder": ({"backbone": str(root / "nowhere")}, "no folder"),
        "a folder of nothing": ({"backbone": str(root / "empty")}, "no diffusers checkpoint"),
        "another kind": ({"backbone": str(root / "other")}, "FluxPipeline"),
        "broken weights": ({"backbone": str(root / "broken")}, "damaged"),
        "a control net as backbone": ({"backbone": folders["control"]}, "ControlNetModel"),
        "a hub id offline": ({"backbone": "nobody/nothing-at-all"}, "HF_HUB_OFFLINE"),
        "no adapters there": ({"backbone": folders["text"], "lora": str(root / "empty")}, "holds no"),
        "adapters that are none": ({"backbone": folders["text"], "lora": str(root / "bad.safetensors")}, "cannot be read"),
        "a pixel UNet cannot paint": ({"backbone": folders["pixel"], "task": "inpaint"}, "pixel UNet"),
        "text cannot paint": ({"backbone": folders["text"], "task": "inpaint"}, "text alone"),
        "painting cannot draw": ({"backbone": folders["inpaint"], "task": "whole"}, "paints into masks"),
        "control of a pixel UNet": ({"backbone": folders["pixel"], "control": "train"}, "no Stable Diffusion"),
        "control of another base": ({"backbone": folders["text"], "control": folders["other control"]}, "another backbone"),
        "a damaged index": ({"backbone": str(root / "odd")}, "is a X, which cannot be fine-tuned"),
        "no tokenizer": ({"backbone": str(root / "wordless")}, "no folder tokenizer"),
        "no such control": ({"backbone": folders["text"], "control": str(root / "nowhere")}, "control: there is no folder"),
        "control that is none": ({"backbone": folders["text"], "control": str(root / "empty")}, "ControlNet"),
        "edges for painting": ({"backbone": folders["inpaint"], "control": "train", "control_on": "edges"}, "edges"),
        "no rank": ({"backbone": folders["text"], "rank": 0, "prior_weight": 0.0}, "rank"),
        "a resolution that does not fit": ({"backbone": folders["text"], "resolution": 17}, "resolution"),
    }  # fmt: skip


def test_what_cannot_work_is_one_sentence(
    folders: dict[str, str], train: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, (how, said) in wrong(folders, tmp_path).items():
        with pytest.raises(GeneratorError, match=said) as caught:
            FineTune(**{**QUICK, **how}).fit(train, seed=0)
        sentence = str(caught.value)
        assert "\n" not in sentence and len(sentence) < 330, (name, sentence)


def test_adapters_of_another_base_are_refused(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    once(fitted, folders, train, "text").save(tmp_path)
    with pytest.raises(GeneratorError, match="another base"):
        FineTune(**QUICK, backbone=folders["wide"], lora=str(tmp_path), prior_weight=0.0).fit(train, seed=0)
    with pytest.raises(GeneratorError, match="another base"):
        FineTune(**QUICK, backbone=folders["pixel"], lora=str(tmp_path)).fit(train, seed=0)


def test_painting_needs_good_pictures_and_masks(folders: dict[str, str]) -> None:
    for data, said in (
        (shapes((6, 6), classes=("dot", "line")), "good pictures"),
        (shapes((6, 4, 4), masks=False), "mask or box"),
    ):
        with pytest.raises(GeneratorError, match=said):
            made(folders, "inpaint").fit(data, seed=0)


def test_a_model_whose_backbone_was_exchanged_is_refused(train: Dataset, tmp_path: Path) -> None:
    folder = tiny.pixel_pipeline(tmp_path / "backbone")
    FineTune(**QUICK, backbone=str(folder), method="lora").fit(train, seed=0).save(tmp_path / "model")
    other = tiny.pixel_unet()
    with torch.no_grad():
        other.conv_in.weight += 1
    other.save_pretrained(folder / "unet")
    with pytest.raises(GeneratorError, match="not the one"):
        FineTune.load(tmp_path / "model")


def test_a_changed_file_of_a_control_net_is_refused(
    folders: dict[str, str], train: Dataset, fitted: dict[str, FineTune], tmp_path: Path
) -> None:
    once(fitted, folders, train, "text, control trained").save(tmp_path)
    config = tmp_path / "controlnet" / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(GeneratorError, match="changed"):
        FineTune.load(tmp_path)
