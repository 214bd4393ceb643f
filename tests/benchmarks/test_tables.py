"""Does the benchmark of tables take what it says, keep what it has, and show what it measured?"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from benchmarks.families import settings_of
from benchmarks.tables import main
from benchmarks.tables_record import record
from benchmarks.tables_work import parts, rare_level
from data.errors import UserError

needs_sdmetrics = pytest.mark.skipif(importlib.util.find_spec("sdmetrics") is None, reason="SDMetrics is not installed")


def test_training_and_test_rows_are_a_partition_that_does_not_change() -> None:
    train, test = parts("breast_cancer", None)
    again = parts("breast_cancer", None)[0]
    assert (len(train), len(test)) == (455, 114)
    assert train.digest() == again.digest()
    rows = [tuple(row.values()) for part in (train, test) for row in part.table.to_pylist()]
    assert len(set(rows)) == 569


def test_the_rarest_level_with_rows_enough_is_asked_for() -> None:
    train, _ = parts("breast_cancer", None)
    found = rare_level(train)
    assert found is not None
    name, level, rows = found
    labels = train.column(name).to_pylist()
    assert labels.count(level) == rows == min(labels.count(each) for each in set(labels))


def test_settings_are_read_from_a_familys_name() -> None:
    assert settings_of("gan,epochs=3,device=cpu") == ("gan", {"epochs": 3, "device": "cpu"})
    with pytest.raises(UserError, match="'epochs' is no setting"):
        settings_of("gan,epochs")


@needs_sdmetrics
def test_a_cell_is_taken_once_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, page = tmp_path / "store.json", tmp_path / "page.md"
    asked = ["--data", "breast_cancer", "--families", "bootstrap", "nosuch", "--seeds", "3"]
    asked += ["--store", str(store), "--out", str(page)]
    assert main(asked) == 0
    cells = json.loads(store.read_text())
    figures = cells["breast_cancer|bootstrap|3"]
    assert figures["quality"]["exact"] == 1.0
    assert figures["sizes"] == [455, 114, 31]
    assert "error" in cells["breast_cancer|nosuch|3"]
    assert "| bootstrap | 1 |" in page.read_text()
    assert "| nosuch | failed |" in page.read_text()
    figures["fit_cpu_s"] = 4321.0  # a mark that a second run must not wipe out
    store.write_text(json.dumps(cells))
    capsys.readouterr()
    assert main(asked) == 0
    assert "4,321" in capsys.readouterr().out


def test_medians_and_ratios_are_those_of_the_cells() -> None:
    quality = {"trtr_auc": 0.9, "trtr_ap": 0.8, "exact_holdout": 0.0, "closeness_holdout": 0.1}
    names = ("tstr_auc", "tstr_ap", "c2st_auc", "coverage", "shapes", "trends", "exact", "closeness", "levels")

    def cell(fit: float, speed: float, value: float) -> dict[str, object]:
        return {
            "fit_cpu_s": fit, "rows_per_s": speed, "peak_mib": 100.0, "sizes": [10, 5, 3], "machine": "m",
            "versions": {"torch": "2"}, "quality": quality | dict.fromkeys(names, value),
        }  # fmt: skip

    cells = {f"adult|gan|{seed}": cell(10.0 * (seed + 1), 3000.0, 0.1 * seed) for seed in range(3)}
    cells["adult|sdv:CTGAN|0"] = cell(400.0, 1000.0, 0.5)
    cells["adult|gan|7"] = cell(1e6, 1.0, 0.9)  # a seed that was not asked for
    row = next(
        line for line in record(cells, ["adult"], ["gan", "sdv:CTGAN"], [0, 1, 2]).splitlines() if line.startswith("| gan")
    )
    assert row.startswith("| gan | 3 | 20 | 20.0x | 3,000 | 3.0x |  | 100 | 0.100 (0.000..0.200) |")


ENGINE = '''
class TabularARGN:
    """Stands in for the engine: it draws the rows that it was given again, backwards."""

    def __init__(self, *, device, random_state, value_protection, verbose):
        assert (device, value_protection) == ("cpu", False)

    def fit(self, frame):
        self.frame = frame[::-1]

    def sample(self, n_samples):
        return self.frame.sample(n_samples, replace=True, random_state=0)
'''


@needs_sdmetrics
def test_the_engine_of_another_environment_is_judged_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "mostlyai" / "engine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(ENGINE)
    (tmp_path / "mostlyai_engine-9.9.dist-info").mkdir()
    (tmp_path / "mostlyai_engine-9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mostlyai-engine\nVersion: 9.9\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    store, page = tmp_path / "store.json", tmp_path / "page.md"
    asked = ["--data", "breast_cancer", "--families", "mostlyai", "--seeds", "0", "--store", str(store), "--out", str(page)]
    assert main([*asked, "--mostlyai", sys.executable]) == 0
    figures = json.loads(store.read_text())["breast_cancer|mostlyai|0"]
    assert figures["quality"]["exact"] == 1.0 and figures["rows_per_s"] > 0 and figures["fit_cpu_s"] >= 0
    assert figures["versions"]["mostlyai-engine"] == "9.9" and "mostlyai-engine 9.9" in page.read_text()


def test_the_engine_needs_the_environment_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COUNTERPOISE_MOSTLYAI", raising=False)
    assert main(["--families", "mostlyai", "--data", "breast_cancer", "--out", ""]) == 2
    assert "mostlyai: no environment is named; say --mostlyai PYTHON" in capsys.readouterr().err
