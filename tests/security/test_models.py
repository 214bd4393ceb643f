"""Can a model, a checkpoint or a backbone that came from somebody else run code when it is opened?"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.errors import DataError, UserError
from generators import _stored as stored
from generators.base import GeneratorError, unseal
from generators.checkpoints import keep
from generators.tabular._constrained import Constrained
from generators.tabular.bootstrap import Bootstrap
from tests.conftest import ROOT
from tests.generators import test_contract as tables
from tests.generators import test_image_contract as images
from tests.generators.pictures import shapes
from tests.security.bombs import Bomb, plant, seal_again

ROOMS = ("configs", "data", "generators", "validators", "flows")
FAMILIES = {**tables.FAMILIES, **images.FAMILIES}


def calls() -> list[tuple[str, str, ast.Call]]:
    """Every call in the rooms: file, dotted name, node."""
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    nodes = [(file.relative_to(ROOT).as_posix(), node) for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return [(file, ast.unparse(node.func), node) for file, node in nodes if isinstance(node, ast.Call)]


def test_nothing_is_unpickled_but_what_is_signed_and_nothing_is_evaluated() -> None:
    dangerous = (
        "pickle.load", "pickle.loads", "joblib.load", "torch.load", "np.load", "numpy.load", "pd.read_pickle", "eval", "exec",
        "os.system", "os.popen", "yaml.load", "shelve.open", "marshal.loads", "dill.load", "load_synthesizer",
    )  # fmt: skip
    met = {(file, name) for file, name, _ in calls() if name in dangerous}
    assert met == {
        ("generators/_stored.py", "torch.load"),
        ("generators/_stored.py", "np.load"),
        ("generators/tabular/sdv.py", "pickle.loads"),
        ("generators/tabular/sdv.py", "load_synthesizer"),
    }
    how = {name: {k.arg: k.value for k in node.keywords} for file, name, node in calls() if file == "generators/_stored.py"}
    assert ast.unparse(how["torch.load"]["weights_only"]) == "True"
    assert ast.unparse(how["np.load"]["allow_pickle"]) == "False"


def test_no_program_is_started_by_a_shell_and_no_yaml_makes_objects() -> None:
    for file, name, node in calls():
        told = {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert told.get("shell", "False") == "False", file
        if name == "YAML":
            assert told["typ"] in ("'rt'", "'safe'") and told["pure"] == "True", file


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_model_with_code_in_any_of_its_files_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    picture = name in images.FAMILIES
    rows = shapes() if picture else tables.Dataset.from_arrow(tables.mixed_table(120), target="label")
    model = (images if picture else tables).make(name).fit(rows, seed=0)
    bomb, tried = Bomb(tmp_path), 0
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    for file in [path for path in (tmp_path / "model").rglob("*") if path.is_file()]:
        whole = file.read_bytes()
        if not plant(file, bomb):
            continue
        tried += 1
        seal_again(tmp_path / "model")
        with pytest.raises(UserError) as caught:
            FAMILIES[name].load(tmp_path / "model")
        assert "could run code" in str(caught.value) or "can run code" in str(caught.value)
        assert "\n" not in str(caught.value) and str(tmp_path / "model") in str(caught.value)
        assert not bomb.mark.exists()
        file.write_bytes(whole)
    assert tried or not [path for path in (tmp_path / "model").rglob("*") if path.suffix in (".pt", ".npz", ".pkl")]


@pytest.mark.parametrize("name", ["autoregressive", "gan", "image.gan", "image.diffusion"])
def test_a_checkpoint_with_code_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    picture = name in images.FAMILIES
    rows = shapes() if picture else tables.Dataset.from_arrow(tables.mixed_table(120), target="label")
    make, bomb = (images if picture else tables).make, Bomb(tmp_path)
    make(name).fit(rows, seed=0, checkpoint=tmp_path / "checkpoint")
    files = list((tmp_path / "checkpoint").rglob("*.pt"))
    assert files
    for path in files:  # sealed with a digest that fits, as whoever plants it would
        keep(path, {"mark": bomb, "fingerprint": bomb})
    with pytest.raises(GeneratorError, match="could run code, so it was not read; remove it"):
        make(name).fit(rows, seed=0, checkpoint=tmp_path / "checkpoint")
    assert not bomb.mark.exists()


def test_a_model_behind_rules_names_no_class_that_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tables.Dataset.from_arrow(tables.mixed_table(60), target="label")
    model = Constrained(Bootstrap(), ({"use": "range", "column": "amount", "low": -100},)).fit(rows, seed=0)
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    assert Constrained.load(tmp_path / "model").rules == model.rules
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'went_off')!r}, 'w')\nclass Family:\n    load = staticmethod(print)\n"
    )
    for named, said in (
        ("evil:Family", "evil:Family is no family of ours, and importing it could run any code; if you trust it, set "),
        ("generators.base:unseal", "generators.base:unseal is no family; fit the model again"),
    ):
        state = json.loads((tmp_path / "model/rules.json").read_text())
        (tmp_path / "model/rules.json").write_text(json.dumps(state | {"family": named}))
        seal_again(tmp_path / "model")
        unseal(tmp_path / "model")
        with pytest.raises(GeneratorError) as caught:
            Constrained.load(tmp_path / "model")
        assert said in str(caught.value)
    assert not (tmp_path / "went_off").exists()


def test_a_damaged_file_and_one_that_unpacks_to_too_much_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pt").write_bytes(b"")
    torch.save({"a": torch.zeros(1000)}, tmp_path / "b.pt")
    (tmp_path / "b.pt").write_bytes((tmp_path / "b.pt").read_bytes()[:2000])
    for name in ("a.pt", "b.pt"):
        with pytest.raises(GeneratorError, match=rf"{name} (is damaged|holds more than weights)"):
            stored.weights(tmp_path / name)
    np.savez_compressed(tmp_path / "c.npz", a=np.zeros(4_000_000))
    monkeypatch.setattr(stored, "BYTES", 1 << 20)
    with pytest.raises(GeneratorError, match="unpacks to 32,000,"), stored.arrays(tmp_path / "c.npz"):
        pass
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(GeneratorError, match="d.npz is damaged"), stored.arrays(tmp_path / "d.npz"):
        pass


def planted(folder: Path, bomb: Bomb) -> None:
    """The weights of a saved model of transformers or diffusers, as a pickle with code in place of safetensors."""
    files = list(folder.rglob("*.safetensors"))
    assert files
    for file in files:
        other = {"model": "pytorch_model", "pytorch_lora_weights": "pytorch_lora_weights"}.get(file.stem, file.stem)
        torch.save({"weight": bomb}, file.with_name(f"{other}.bin"))
        file.unlink()


def test_a_backbone_of_pickles_runs_no_code(tmp_path: Path) -> None:
    from generators.image import _backbone
    from tests.generators import tiny_backbones

    bomb = Bomb(tmp_path)
    folder = tiny_backbones.bare_unet(tmp_path / "unet")
    planted(folder, bomb)
    with pytest.raises(GeneratorError) as caught, _backbone.opening("unet"):
        _backbone.pixel(folder, "unet")
    assert "\n" not in str(caught.value)
    assert not bomb.mark.exists()


def test_an_extractor_of_pickles_or_with_code_of_its_own_runs_none(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTModel

    from validators.extractor import load

    bomb, folder = Bomb(tmp_path), tmp_path / "vit"
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16, patch_size=8
    )
    ViTModel(config).save_pretrained(folder)
    planted(folder, bomb)
    train: Any = shapes()
    with pytest.raises(DataError, match="cannot be loaded by transformers"):
        load(str(folder), images.pictures(train), seed=0)
    stated = json.loads((folder / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}, "model_type": "own"}
    (folder / "config.json").write_text(json.dumps(stated | own))
    (folder / "own.py").write_text(f"open({str(bomb.mark)!r}, 'w')\n")
    with pytest.raises(DataError, match="cannot be loaded by transformers"):
        load(str(folder), images.pictures(train), seed=0)
    assert not bomb.mark.exists()


def test_what_sdv_keeps_is_read_only_where_it_was_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from generators.tabular import _sdv_signature as signature

    monkeypatch.setenv(signature.KEY, str(tmp_path / "mine/key"))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"1")
    signature.sign(tmp_path, ("a", "b", "none"))
    signature.check(tmp_path, ("a", "b", "none"))
    assert (tmp_path / "mine/key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "a").write_bytes(b"2")
    with pytest.raises(GeneratorError, match="has not signed them"):
        signature.check(tmp_path, ("a", "b", "none"))
    (tmp_path / "a").write_bytes(b"1")
    monkeypatch.setenv(signature.KEY, str(tmp_path / "other/key"))
    with pytest.raises(GeneratorError, match="has not signed them"):
        signature.check(tmp_path, ("a", "b", "none"))
    monkeypatch.setenv(signature.KEY, "/proc/none/key")
    with pytest.raises(GeneratorError, match="cannot be used"):
        signature.check(tmp_path, ("a", "b", "none"))
