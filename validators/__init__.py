"""Does a synthetic set reach every region of the real data, and may it be published?

`judge(train, holdout, synthetic)` answers with a `Decision`. Both are imported when first used."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from validators.gate import Decision
    from validators.judge import judge

__all__ = ["Decision", "judge"]

_HOMES = {"Decision": "validators.gate", "judge": "validators.judge"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


class _Face(ModuleType):
    """Keeps `validators.judge` the function, although importing the file of that name sets it to the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value.judge if name == "judge" and isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Face
