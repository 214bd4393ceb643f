"""Does a pipe hear of long work, now and then, and no more once it is over?"""

from __future__ import annotations

import time

import pytest

from flows import tell


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""  # progress belongs to stderr
    return err.splitlines()


def test_work_that_says_nothing_is_told_of_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tell, "SILENCE", 0.1)
    with tell.console(quiet=False) as teller:
        progress = teller.begin("fit")
        time.sleep(0.25)
        progress.advance(10, 800, "step", loss=0.5)
        time.sleep(0.25)
        teller.end("fit", "done", {"family": "image.gan"}, 0.5)
    said = lines(capsys)
    assert said[0].startswith("fit      still at work after 0 s")
    assert any(line.endswith(", last step 10 of 800, loss 0.5") for line in said)
    assert said[-1] == "fit      image.gan  (0.5 s)"


def test_nothing_is_told_after_a_stage_has_failed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tell, "SILENCE", 0.05)
    with pytest.raises(RuntimeError), tell.console(quiet=False) as teller:
        teller.begin("fit")
        raise RuntimeError
    lines(capsys)
    time.sleep(0.2)
    assert lines(capsys) == []


def test_a_line_says_step_loss_and_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([0.0, 20.0, 40.0, 45.0])
    progress = tell.PlainProgress("fit")
    progress.last = 0.0
    monkeypatch.setattr(tell.time, "monotonic", lambda: next(clock, 60.0))
    progress.advance(100, 800, "step", loss=0.7)
    monkeypatch.setattr(tell.time, "monotonic", lambda: 20.0)
    progress.advance(200, 800, "step", loss=0.6)
    progress.advance(210, 800, "step", loss=0.6)  # too soon after
    assert lines(capsys) == ["fit      step 200 of 800, loss 0.6, about 2 min left"]


def test_a_second_training_has_a_pace_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    progress = tell.PlainProgress("fit")
    progress.last = 0.0
    for now, done, total in ((0.0, 10, 800), (1000.0, 800, 800), (1001.0, 10, 2000), (1021.0, 210, 2000)):
        monkeypatch.setattr(tell.time, "monotonic", lambda now=now: now)
        progress.advance(done, total, "step")
    assert lines(capsys)[-1] == "fit      step 210 of 2,000, about 3 min left"


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tell, "SILENCE", 0.05)
    with tell.console(quiet=True) as teller:
        teller.begin("fit").advance(1, 2, "step")
        time.sleep(0.15)
        teller.end("fit", "done", {"family": "x"}, 0.1)
    assert lines(capsys) == []


@pytest.mark.parametrize(("seconds", "said"), [(48.2, "48 s"), (200, "3 min"), (9000, "2.5 h")])
def test_times_read_well(seconds: float, said: str) -> None:
    assert tell.spoken(seconds) == said
