"""Does a name lead to the right class, and a wrong one to a helpful sentence?"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from configs.components import build, families, find, modules, settings_model
from configs.errors import KeyFault
from flows.plan_schema import plan_schema
from generators.base import Generator
from tests.conftest import ROOT


def make(**spec: object) -> object:
    return build(spec, Generator, package="generators")


def test_families_are_found_without_a_list() -> None:
    assert {"gan", "bootstrap", "smote", "sdv"} <= set(modules("generators"))
    found = families("generators", Generator)
    assert {"gan", "bootstrap", "smote", "sdv:CTGAN", "sdv:TVAE", "sdv:CopulaGAN", "sdv:GaussianCopula"} <= set(found)


@pytest.mark.parametrize("use", ["gan", "tabular.gan", "generators.tabular.gan:GAN", "sdv:CTGAN"])
def test_names_lead_to_classes(use: str) -> None:
    assert find(use, Generator, package="generators").__name__ in ("GAN", "CTGAN")


@pytest.mark.parametrize(
    ("spec", "key", "said"),
    [
        ({"use": "gam"}, ("use",), "unknown family 'gam'; did you mean 'gan'?"),
        ({"use": "ctgan"}, ("use",), "sdv:CTGAN"),
        ({"use": "sdv"}, ("use",), "does not name one class"),
        ({"use": "sdv:CTGANN"}, ("use",), "did you mean 'CTGAN'?"),
        ({"use": "generators.base:Silent"}, ("use",), "is not a Generator: it lacks"),
        ({"use": "collections:OrderedDict"}, ("use",), "if you trust it, set COUNTERPOISE_FAMILIES=collections"),
        ({"use": "gan", "epoch": 3}, ("epoch",), "unknown key 'epoch'; did you mean 'epochs'?"),
        ({"use": "gan", "epochs": "many"}, ("epochs",), "valid integer"),
    ],
)
def test_faults_name_the_key(spec: dict[str, object], key: tuple[str, ...], said: str) -> None:
    with pytest.raises(KeyFault) as caught:
        make(**spec)
    assert caught.value.key == key
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "unknown family 'theirs.family:Mine': there is no module 'theirs.family' to import; install it"),
        (
            "import no_such_library\n",
            "theirs.family cannot be imported: ModuleNotFoundError: No module named 'no_such_library'",
        ),
        ("def f(:\n", "theirs.family cannot be imported: SyntaxError"),
        ("class Other: ...\n", "theirs.family has no class 'Mine'"),
    ],
)
def test_a_family_of_others_that_cannot_be_taken_says_why(
    text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    if text is not None:
        (tmp_path / "theirs/family.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COUNTERPOISE_FAMILIES", "theirs")
    for name in ("theirs", "theirs.family"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(KeyFault) as caught:
        find("theirs.family:Mine", Generator, package="generators")
    assert caught.value.key == ("use",) and said in caught.value.message
    for name in ("theirs", "theirs.family"):
        sys.modules.pop(name, None)


def test_settings_reach_the_family() -> None:
    assert make(use="gan", epochs=3).epochs == 3  # type: ignore[attr-defined]
    assert "epochs" in settings_model(find("gan", Generator, package="generators")).model_fields


def test_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "configs/plan.schema.json").read_text())
    assert committed == plan_schema(), "run `make schema` and commit what it writes"
