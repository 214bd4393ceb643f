"""From what may a killed training go on? From a checkpoint that is whole by its own digest, else from the one before."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

from generators._stored import weights

#: What a checkpoint ends with, before the sha256 of all that stands before it: torch reads past it, and does not look at the
#: checksums of its own format.
SEAL = b"counterpoise sha256 "
_TAIL = len(SEAL) + 32
#: What the checkpoint before the last one is called.
BEFORE = ".before"
_CHUNK = 1 << 20


def keep(path: Path, state: Any) -> None:
    """Write a state of tensors, numbers and texts, sealed, beside `path`, then into its place; what was there stays as the one
    before. A kill leaves one of them whole."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two trainings of the same data may share a cache.
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        # By way of our own file, so that a full disk is told as one: torch's words for it are about places in a file.
        with beside.open("w+b") as file:
            torch.save(state, file)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
            file.seek(0, os.SEEK_END)
            file.write(SEAL + digest)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            path.replace(_before(path))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def recall(path: Path, *, device: Any = "cpu") -> Any | None:
    """The newest state that `keep` wrote and that is whole, None where there is none.

    Raises GeneratorError for one that holds more than tensors, numbers, texts and what is made of them: it could run code."""
    for each in (path, _before(path)):
        if whole(each):
            return weights(each, device)
    return None


def whole(path: Path) -> bool:
    """Whether the file is there and is what `keep` wrote, to the last byte."""
    if not path.is_file() or (length := path.stat().st_size - _TAIL) <= 0:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length and (chunk := file.read(min(_CHUNK, length))):
            digest.update(chunk)
            length -= len(chunk)
        return file.read() == SEAL + digest.digest()


def mend(folder: Path) -> list[str]:
    """Take away the damaged checkpoints below a folder, the one before in their place; a sentence for each of them."""
    for each in sorted(folder.rglob(f"*.pt{BEFORE}")):  # killed between two renames
        if not (path := each.with_name(each.name.removesuffix(BEFORE))).exists():
            each.replace(path)
    return [_mended(path) for path in sorted(folder.rglob("*.pt")) if not _is_model(path.parent) and not whole(path)]


def _mended(path: Path) -> str:
    if whole(_before(path)):
        _before(path).replace(path)
        return f"the checkpoint {path.name} is damaged; the one before it is used"
    path.unlink()
    _before(path).unlink(missing_ok=True)
    return f"the checkpoint {path.name} is damaged and there is none before it; what it held is learned anew"


def _is_model(folder: Path) -> bool:
    # A saved model is sealed as a whole by its envelope.
    return (folder / "envelope.json").exists()


def _before(path: Path) -> Path:
    return path.with_name(path.name + BEFORE)
