"""How many drawn rows hold the rules, and which rows were drawn before?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data.combinations import marks, present
from data.constraints import Constraint, Unique

Array = np.ndarray


class Tally:
    """Counts of drawn rows: `drawn`, `kept`, and of each rule those that hold it."""

    def __init__(self, rules: Sequence[Constraint]) -> None:
        self.rules = tuple(rules)
        self.drawn = self.kept = 0
        self.holding = np.zeros(len(self.rules), dtype=np.int64)
        self.asked = 0

    def add(self, held: Sequence[Array], kept: int) -> None:
        """held: of each rule the rows that hold it, last those that hold what else was asked; kept: how many were taken."""
        self.drawn += len(held[-1])
        self.kept += kept
        self.holding += np.array([each.sum() for each in held[:-1]], dtype=np.int64).reshape(-1)
        self.asked += int(held[-1].sum())

    @property
    def share(self) -> float:
        """Share of the drawn rows that could be kept, 1 before anything is drawn."""
        return self.kept / self.drawn if self.drawn else 1.0

    def worst(self) -> tuple[str, float] | None:
        """What fewest rows hold, a rule or what else was asked, and their share; None when every row holds everything."""
        causes = [(str(rule), int(n)) for rule, n in zip(self.rules, self.holding, strict=True)]
        causes.append(("the condition and the ranges of train", self.asked))
        name, least = min(causes, key=lambda cause: cause[1])
        return (name, least / self.drawn) if least < self.drawn else None

    def hopeless(self, wanted: Mapping[str, Any], made_from: Mapping[str, str]) -> str:
        """Why no more rows are drawn, in a sentence. made_from: of columns that are made, those that may be asked for."""
        asked = f" with {', '.join(f'{name}={value}' for name, value in wanted.items())}" if wanted else ""
        head = f"only {self.kept} of {self.drawn:,} drawn rows{asked} hold what is asked of them: "
        causes = [(f"the rule {rule} is held by", int(n)) for rule, n in zip(self.rules, self.holding, strict=True)]
        causes.append(("the condition is held by", self.asked))
        text, least = min(causes, key=lambda cause: cause[1])
        unique = [str(rule) for rule in self.rules if isinstance(rule, Unique)]
        if unique and least > 10 * max(self.kept, 1):
            return f"{head}{unique[0]}, and most such rows were drawn before; ask for fewer rows, or name more columns there"
        if text.startswith("the condition") and (far := [name for name in wanted if name in made_from]):
            return f"{head}{far[0]} is made from {made_from[far[0]]}, so it can only be waited for; ask for both, or for others"
        return f"{head}{text} {least:,}; loosen it, train longer, or ask for other rows"


class Seen:
    """What must be unique, as far as it was drawn: about 100 bytes a row and rule, kept as long as the draw lasts."""

    def __init__(self, rules: Sequence[Constraint]) -> None:
        self.before: dict[int, set[int]] = {i: set() for i, rule in enumerate(rules) if isinstance(rule, Unique)}
        self.names = {i: rules[i].columns for i in self.before}

    def fresh(self, batch: pa.RecordBatch, keep: Array, most: int) -> Array:
        """Of the rows in `keep`, the first `most` that repeat nothing that was drawn: (rows,) bool; they count as drawn."""
        if not self.before:
            return keep
        out = np.zeros(len(keep), dtype=bool)
        seals = {i: (marks(batch, names).tolist(), present(batch, names)) for i, names in self.names.items()}
        for row in np.flatnonzero(keep).tolist():
            own = [(i, hashes[row]) for i, (hashes, there) in seals.items() if there[row]]
            if most and all(seal not in self.before[i] for i, seal in own):
                for i, seal in own:
                    self.before[i].add(seal)
                out[row] = True
                most -= 1
        return out
