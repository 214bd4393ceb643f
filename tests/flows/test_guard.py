"""Is another package of the same name noticed, before it does harm?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flows.guard import ClashError, check_rooms
from tests.conftest import ROOT


def test_our_own_rooms_pass() -> None:
    check_rooms()


def test_rooms_from_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClashError, match="pip uninstall configs"):
        check_rooms(tmp_path)


def test_a_clash_is_one_sentence(tmp_path: Path) -> None:
    """A foreign `data` in front of ours: the command says so, and nothing else happens."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/__init__.py").write_text("raise RuntimeError('not ours')\n")
    paths = f"sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]"
    code = f"import sys; {paths}; from flows.guard import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip uninstall data" in done.stderr and "Traceback" not in done.stderr
