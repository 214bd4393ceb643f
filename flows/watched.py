"""What of a run is told to logs and metrics that others keep? Of a release no more than goes out with its rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flows.run import OUTSIDE, Run

#: Of a release: stage -> what of its facts is told. What is not listed here is not.
TOLD: Mapping[str, tuple[str, ...]] = {
    "choose": ("family",),
    "fit": ("family", "resumed"),
    "sample": ("rows",),
    "judge": ("verdict",),
    "publish": ("verdict", "uri", "version", "rows"),
}


@dataclass(frozen=True)
class Watched:
    """A run as those see it who watch it. dataset: its plan's name; release: whether its real rows must not be told of."""

    run: Run
    dataset: str
    release: bool

    @classmethod
    def of(cls, run: Run) -> Watched:
        """Reads the run's plan, unless it is as it was when it was read last."""
        return cls(run, run.folder.parent.name, _is_release(run, (run.folder / "plan.yaml").stat().st_mtime_ns))

    @property
    def id(self) -> str:
        """The run's id; of a release its alias, as the id follows from the bytes of the source."""
        return str(self.run.stages.get("alias", "-")) if self.release else self.run.id

    @property
    def called(self) -> str:
        """The dataset and the run."""
        return f"{self.dataset}/{self.id}"

    def facts(self, stage: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a stage's facts."""
        return {name: facts[name] for name in TOLD.get(stage, ()) if name in facts} if self.release else dict(facts)

    def figures(self, figures: Mapping[str, float]) -> dict[str, float]:
        """What is told of figures of progress: losses are sums over real rows, which nothing accounts for."""
        return {} if self.release else dict(figures)

    def report(self) -> dict[str, Any] | None:
        """What the gate said: of a release, its report for the outside. None where it has not judged."""
        path = (self.run.folder / OUTSIDE if self.release else self.run.folder) / "report.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


@lru_cache(maxsize=1024)
def _is_release(run: Run, written: int) -> bool:
    return run.plan.purpose == "release"
