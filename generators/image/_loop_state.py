"""What does a training need to go on where it was killed, as if it had not been?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from generators.checkpoints import keep, recall

if TYPE_CHECKING:
    from generators.image._loop import Hand, Trainee

#: The file of a checkpoint.
STATE = "training.pt"


class State:
    """Everything that the next step depends on."""

    def __init__(self, trainee: Trainee, hand: Hand, picker: torch.Generator, batch_size: int) -> None:
        self.trainee, self.hand, self.picker, self.batch_size = trainee, hand, picker, batch_size

    def save(self, folder: Path, step: int, stopped: bool, fingerprint: str) -> None:
        """Write the state; every process calls it, the first one writes, and the others wait until it is there."""
        streams = self.hand.of_all(self.streams())
        if self.hand.main:
            self._write(folder, step, stopped, fingerprint, streams)
        self.hand.agree(True)  # or a process that goes on at once would read what was there before

    def _write(self, folder: Path, step: int, stopped: bool, fingerprint: str, streams: list[Any]) -> None:
        value = {
            "fingerprint": fingerprint, "step": step, "stopped": stopped, "batch_size": self.batch_size,
            "parts": {name: part.state_dict() for name, part in self.trainee.parts.items()},
            "average": {name: part.state_dict() for name, part in self.hand.average.items()},
            "optimizers": {name: one.state_dict() for name, one in self.trainee.optimizers.items()},
            "streams": streams, "memory": self.trainee.memory(),
        }  # fmt: skip
        keep(folder / STATE, value)

    def streams(self) -> dict[str, Tensor]:
        """Where this process's random streams stand: of the rows, of the family's noise, of dropout."""
        found = {"picker": self.picker.get_state(), "rng": self.hand.rng.get_state(), "torch": torch.get_rng_state()}
        if self.hand.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state(self.hand.device)
        return found

    def rewind(self, streams: Mapping[str, Tensor]) -> None:
        """Put the streams where they stood."""
        self.picker.set_state(streams["picker"])
        self.hand.rng.set_state(streams["rng"])
        torch.set_rng_state(streams["torch"])
        if "cuda" in streams and self.hand.device.type == "cuda":
            torch.cuda.set_rng_state(streams["cuda"], self.hand.device)

    def load(self, folder: Path | None, fingerprint: str) -> tuple[int, bool]:
        """The step to go on from, and whether the family had stopped."""
        value = None if folder is None else recall(folder / STATE)
        if value is None or value["fingerprint"] != fingerprint:
            return 0, False
        for name, part in self.trainee.parts.items():
            part.load_state_dict(value["parts"][name])
        for name, part in self.hand.average.items():
            part.load_state_dict(value["average"][name])
        for name, one in self.trainee.optimizers.items():
            one.load_state_dict(value["optimizers"][name])
        if self.hand.rank < len(value["streams"]):
            self.rewind(value["streams"][self.hand.rank])
        self.trainee.recall(value["memory"])
        # As many pictures a step as before, over all processes, of which there may be others now.
        self.batch_size = max(1, value["batch_size"] * len(value["streams"]) // self.hand.processes)
        self.hand.steps = value["step"]
        return int(value["step"]), bool(value["stopped"])
