"""Does the measurement of a device run without one, and without the data folder?"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tables_gpu import main


def test_the_processor_is_measured_where_there_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERPOISE_DATA", str(tmp_path))
    page = tmp_path / "page.md"
    assert main(["--rows", "30000", "--repeats", "1", "--epochs", "1", "--out", str(page)]) == 0
    said = page.read_text()
    assert "a table made for this measurement: 30,000 rows, 16 columns" in said
    row = next(line for line in said.splitlines() if line.startswith("| cpu |"))
    assert all(float(cell.replace(",", "")) > 0 for cell in row.split("|")[2:5])
    assert said.strip() == capsys.readouterr().out.strip()
