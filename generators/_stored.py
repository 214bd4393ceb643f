"""How are weights and arrays read back so that no file can run code, or unpack to more than anybody meant to store?"""

from __future__ import annotations

import importlib
import pickle  # noqa: S403  only its error is named; nothing is unpickled here
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.trust import trusted, untrusted
from generators.base import Generator, GeneratorError

if TYPE_CHECKING:
    import torch

#: Arrays may unpack to so many times the bytes of their file, or to so many bytes whatever the file.
TIMES, BYTES = 200, 1 << 30
#: How zipfile says that there is no archive, or only part of one; torch adds a RuntimeError of its own.
BROKEN = (EOFError, OSError, zipfile.BadZipFile)


def weights(path: Path, device: str | torch.device = "cpu") -> Any:
    """Tensors, numbers and texts as `torch.save` wrote them.

    Raises GeneratorError for a file that holds anything else, since reading that could run code, and for a damaged one."""
    import torch

    try:
        return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError:
        raise GeneratorError(
            f"{path} holds more than weights and could run code, so it was not read; remove it and fit the model again"
        ) from None
    except (RuntimeError, *BROKEN) as error:
        said = " ".join(str(error).split())[:80]
        raise GeneratorError(f"{path} is damaged ({said}); remove it and fit the model again") from None


@contextmanager
def arrays(path: Path) -> Iterator[Any]:
    """The arrays of an npz file.

    Raises GeneratorError for one with pickled objects, a damaged one, and one that unpacks to far more than it holds."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(entry.file_size for entry in packed.infolist())
        if size > max(BYTES, TIMES * path.stat().st_size):
            raise GeneratorError(f"{path} unpacks to {size:,} bytes, more than any model here; remove it and fit again")
        with np.load(path, allow_pickle=False) as held:
            yield held
    except BROKEN as error:
        raise GeneratorError(f"{path} is damaged ({str(error)[:80]}); remove it and fit the model again") from None
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise GeneratorError(
            f"{path} holds pickled objects and could run code, so it was not read; remove it and fit the model again"
        ) from None


def family(named: str, folder: Path) -> type[Generator]:
    """The class that a saved model names as "module:Class".

    Raises GeneratorError for one that is no family, or that the environment does not trust."""
    module, _, name = named.partition(":")
    if not trusted(module):
        raise GeneratorError(f"{folder}: {named} {untrusted(module)}")
    found: Any = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, type) or not all(hasattr(found, part) for part in ("fit", "sample", "save", "load")):
        raise GeneratorError(f"{folder}: {named} is no family; fit the model again")
    return found
