"""How does a machine follow a run? A JSON object on stderr for each stage that begins and ends, and now and then between."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flows import logs
from flows.pipes import put
from flows.run import Run
from flows.tell import PlainProgress, sentence
from flows.watched import Watched
from generators.base import Progress


class JsonLines:
    """Tells of a run's stages; of work that is no run where `run` is None."""

    def __init__(self, run: Run | None) -> None:
        self.watched = None if run is None else Watched.of(run)
        self.at_work: PlainProgress | None = None

    def begin(self, stage: str) -> Progress:
        self.close()
        logs.about(stage=stage, **({} if self.watched is None else {"run": self.watched.called}))
        put(logs.line("begins"))
        self.at_work = PlainProgress(stage, self._went_on)
        self.at_work.start()
        return self.at_work

    def end(self, stage: str, how: str, facts: Mapping[str, Any], seconds: float) -> None:
        self.close()
        told = dict(facts) if self.watched is None else self.watched.facts(stage, facts)
        says = f"{stage} {how}" if self._hides else sentence(stage, how, facts).split("\n")[0]
        level = "warning" if facts.get("verdict") in ("BLOCK", "INCONCLUSIVE") else "info"
        put(logs.line(how, level=level, seconds=round(seconds, 3), facts=told, says=says))
        logs.about(stage=None)

    def close(self) -> None:
        """The stage at work, if there is one, is told of no more."""
        if self.at_work is not None:
            self.at_work.stop()
            self.at_work = None

    @property
    def _hides(self) -> bool:
        return self.watched is not None and self.watched.release

    def _went_on(self, says: str, figures: Mapping[str, float]) -> None:
        if self.at_work is None:
            return
        told = {"says": f"{self.at_work.stage} goes on"} if self._hides else {"says": says, "figures": figures}
        put(logs.line("progress", seconds=round(time.monotonic() - self.at_work.began, 3), **told))
