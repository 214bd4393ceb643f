"""Does a user hear in one sentence that the disk or the memory has run out?"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from data.errors import DataError
from flows.shortage import ShortageError, told
from flows.stages import sample
from flows.usage import _unexpected
from flows.walk import walk
from tests.flows.test_walk import start


@pytest.mark.parametrize(
    ("code", "words"), [("ENOSPC", "is full .*MB free"), ("EROFS", "cannot be written"), ("ENOMEM", "memory")]
)
def test_what_the_machine_refuses_is_one_sentence(tmp_path: Path, code: str, words: str) -> None:
    number = getattr(errno, code)
    with pytest.raises(ShortageError, match=f"fit: .*{words}") as caught, told(tmp_path, "fit"):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_what_a_library_made_of_it_is_the_same_sentence(tmp_path: Path) -> None:
    with pytest.raises(ShortageError, match="is full"), told(tmp_path):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
    with pytest.raises(ShortageError, match="is full"), told(tmp_path):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise ValueError("could not be written") from error
    with pytest.raises(ShortageError, match="not enough memory"), told(tmp_path):
        torch.empty(2**50)
    with pytest.raises(ShortageError, match="not enough memory"), told(tmp_path):
        np.empty(2**50)


def test_anything_else_is_left_as_it_is(tmp_path: Path) -> None:
    for error in (ZeroDivisionError("x"), DataError("y"), OSError(errno.ENOENT, "z"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, told(tmp_path):
            raise error
        assert caught.value is error


def test_a_stage_says_which_it_is_and_the_run_goes_on_with_room(plan_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = start(plan_file)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(sample.pq, "ParquetWriter", full)
        with pytest.raises(ShortageError, match=r"sample: the disk \(or its quota\) is full"):
            walk(run)
    assert "fit" in run.stages and "sample" not in run.stages
    assert walk(run)["publish"]["uri"]


def test_a_fault_is_told_even_where_no_log_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert _unexpected(ZeroDivisionError("x")) == 1
    assert "could not be written (No space left on device)" in capsys.readouterr().err
    assert _unexpected(MemoryError()) == 2
    assert capsys.readouterr().err.count("\n") == 1
