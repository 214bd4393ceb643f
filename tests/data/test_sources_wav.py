"""Do windows of sounds hold what their files hold, at one rate and with as many channels as all have?"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.dataset import Dataset
from data.errors import DataError
from data.sources.wav import read, resampled
from data.split_series import split_windows
from data.windows import Windows, description, windows
from flows.stages.read import notices_of

soundfile = pytest.importorskip("soundfile", reason="the extra `audio` is not installed")


def tone(seconds: float, rate: int, pitch: float, channels: int = 1) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    one = 0.5 * np.sin(2 * np.pi * pitch * t)
    return np.stack([one * (1 - 0.5 * c) for c in range(channels)], axis=1)


def write(path: Path, readings: np.ndarray, rate: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, readings, rate)
    return path


def held(table: pa.Table) -> Windows:
    return windows(Dataset(table, description(table)))


def test_folders_are_classes_and_files_are_entities(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "hum" / f"{i}.wav", tone(1.0, 4000, 50 + i), 4000)
        write(tmp_path / "train" / "whine" / f"{i}.flac", tone(0.5, 4000, 900 + i), 4000)
    out = read(tmp_path, length=1000, stride="0.25s")
    got = held(out)
    assert got.classes == ("hum", "whine") and np.bincount(got.labels).tolist() == [12, 6] and got.period == 1 / 4000
    assert got.channels == ("sound",) and got.entities[0] == "hum/0.wav" and got.starts[:4].tolist() == [0, 0.25, 0.5, 0.75]
    assert np.allclose(got.values[1, 0], tone(1.0, 4000, 50)[1000:2000, 0], atol=1e-4)
    assert got.sources[1] == "hum/0.wav@0.25" and not notices_of(out)
    cut = split_windows(Dataset(out, description(out)), reference=0, holdout=0.3, seed=0)
    assert not set(windows(cut.train).entities) & set(windows(cut.holdout).entities)


def test_whole_files_of_several_lengths_in_one_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(0.2, 8000, 100, 2), 8000)
    write(tmp_path / "b.wav", tone(0.1, 8000, 100, 2), 8000)
    got = held(read(tmp_path))
    assert got.lengths.tolist() == [1600, 800] and got.channels == ("left", "right") and not got.classes
    assert np.allclose(got.values[0, 1], got.values[0, 0] / 2, atol=1e-4)
    assert len(held(read(tmp_path / "a.wav", length="0.1s", stride="0.1s"))) == 2


def test_long_files_are_cut_into_seconds(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", tone(3.0, 8000, 100), 8000)
    out = read(tmp_path)
    assert held(out).values.shape == (5, 1, 8000) and "last a second" in notices_of(out)[0]


def test_rates_and_channels_are_made_alike_and_told(tmp_path: Path) -> None:
    write(tmp_path / "slow.wav", tone(1.0, 8000, 440), 8000)
    write(tmp_path / "fast.wav", tone(1.0, 44100, 440, 2), 44100)
    out = read(tmp_path, length=8000)
    got, said = held(out), " ".join(notices_of(out))
    assert got.values.shape == (2, 1, 8000) and "1 of 2 are mixed down" in said and "8000 readings a second: 1 of 2" in said
    by_name = dict(zip(got.entities, got.values[:, 0], strict=True))
    assert np.abs(by_name["fast.wav"] - 0.75 * by_name["slow.wav"])[100:-100].max() < 0.01
    with pytest.raises(DataError, match="1 and 2 channels; state data.mono"):
        read(tmp_path, mono=False)
    assert held(read(tmp_path / "slow.wav", rate=16000)).period == 1 / 16000


def test_what_the_new_rate_cannot_hold_does_not_fold_back() -> None:
    high = tone(0.5, 48000, 7000).astype(np.float32)
    assert np.abs(resampled(high, 48000, 8000)[200:-200]).max() < 0.005
    low = resampled(tone(0.5, 48000, 1000).astype(np.float32), 48000, 8000)
    assert np.abs(low[:, 0] - tone(0.5, 8000, 1000)[:, 0])[200:-200].max() < 0.005


def test_damaged_files_are_listed_or_refused(tmp_path: Path) -> None:
    write(tmp_path / "hum" / "good.wav", tone(0.5, 4000, 60), 4000)
    write(tmp_path / "hiss" / "good.wav", tone(0.5, 4000, 900), 4000)
    (tmp_path / "hum" / "noise.wav").write_bytes(b"RIFF this is no sound")
    with wave.open(str(tmp_path / "hum" / "empty.wav"), "wb") as file:
        file.setparams((1, 2, 4000, 0, "NONE", ""))
    write(tmp_path / "stray.wav", tone(0.5, 4000, 60), 4000)
    out = read(tmp_path, length=500)
    said = " ".join(notices_of(out))
    assert (
        "cannot be read: 2 (hum/empty.wav: it holds no readings, hum/noise.wav" in said
        and "no folder of a class: 1 (stray.wav)" in said
    )
    assert set(held(out).entities) == {"hum/good.wav", "hiss/good.wav"}
    with pytest.raises(DataError, match="empty.wav cannot be read .it holds no readings.; mend or remove it"):
        read(tmp_path, strict=True)


def test_no_sound_and_short_sounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no sounds"):
        read(tmp_path)
    with pytest.raises(DataError, match="there is no file or folder"):
        read(tmp_path / "none")
    write(tmp_path / "a.wav", tone(0.1, 8000, 100), 8000)
    with pytest.raises(DataError, match="windows of 8000 are longer than every series.*800 readings"):
        read(tmp_path, length="1s")
    (tmp_path / "a.wav").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no sound in .* can be read; the first: a.wav"):
        read(tmp_path)
