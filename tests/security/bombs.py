"""What somebody puts into a file that others will open: code in pickles, names that lead elsewhere, little that grows."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generators.base import ENVELOPE, _sha256


class Bomb:
    """Whoever unpickles it runs code: a file `went_off` appears."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "went_off"

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def plant(file: Path, bomb: Bomb) -> bool:
    """Put the bomb into a file of a model, in the format that its ending names; False for a format without pickles."""
    if file.suffix == ".pt":
        torch.save({"mark": bomb, "state": bomb, "fingerprint": bomb}, file)
    elif file.suffix == ".npz":
        with np.load(file) as held:
            names = list(held)
        np.savez(file, **dict.fromkeys(names, np.array([bomb], dtype=object)))
    elif file.suffix in (".pkl", ".bin"):
        file.write_bytes(pickle.dumps(bomb))
    else:
        return False
    return True


def seal_again(folder: Path) -> None:
    """Checksums that fit, as whoever changed the files would write them."""
    for envelope in folder.rglob(ENVELOPE):
        value = json.loads(envelope.read_text())
        value["files"] = {
            name: _sha256(envelope.parent / name) for name in value["files"] if (envelope.parent / name).is_file()
        }
        envelope.write_text(json.dumps(value))
