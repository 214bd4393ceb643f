"""Does make say what it is about to install?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("target", ["setup", "check", "test"])
def test_what_is_installed_is_announced_with_its_reason_and_size(target: str, tmp_path: Path) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", target, f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    place = next(i for i, line in enumerate(shown) if "pip" in line and "[sdv," in line)
    said = shown[place - 1]
    assert said.startswith("echo")
    for word in ("SDV for the families sdv:* (80 MB)", "check", "pytest", str(tmp_path)):
        assert word in said
