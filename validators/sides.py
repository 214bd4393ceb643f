"""Which rows does every check look at? Made ready once: the classes under judgement, and a sample that fits in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data.dataset import Dataset
from validators.base import Evidence, Intent
from validators.mix import Classes, classes, compared, restrict
from validators.stats import Array

#: Synthetic rows held in memory: so many of the whole set, and so many of each class at least.
WHOLE_ROWS, CLASS_ROWS = 60_000, 10_000
#: Real rows that neighbours are looked for among.
REAL_ROWS = 100_000


@dataclass(frozen=True)
class Sides:
    """The sets of one evidence, without the rows of classes that the intended mix leaves out.

    train, reference, holdout: real rows in memory; synthetic: every row, perhaps on disk: go through it with `scan`.
    classes: the classes and where their rows are, None without a categorical target.
    h: (n,) positions of the holdout rows that may be compared as whole sets; s: (m,) mask of such synthetic rows, None
    for all of them; rows: how many those are.
    sample: the synthetic rows in memory; places: (k,) their positions in `synthetic`, ascending; whole: positions in
    `sample` that are a fair draw of the rows that may be compared."""

    train: Dataset
    reference: Dataset
    holdout: Dataset
    synthetic: Dataset
    intent: Intent
    classes: Classes | None
    h: Array
    s: Array | None
    rows: int
    sample: Dataset
    places: Array
    whole: Array

    @property
    def names(self) -> tuple[str, ...]:
        """The classes; empty where there are not two."""
        return self.classes.names if self.classes is not None and len(self.classes.names) > 1 else ()

    @property
    def sample_labels(self) -> Array:
        """Class of each row of the sample, -1 where it has none. Raises ValueError where there are no classes."""
        return self._classes.synthetic[self.places]

    def of_class(self, y: int) -> tuple[Array, Array, Array]:
        """Positions of class y in reference, holdout and sample. Raises ValueError where there are no classes."""
        found = self._classes
        r, h, s = (np.flatnonzero(labels == y) for labels in (found.reference, found.holdout, self.sample_labels))
        return r, h, s

    def scopes(self) -> list[tuple[str, Array, Array, Array]]:
        """The whole set and each class: name, and positions in reference, holdout and sample."""
        out = [("the whole set", np.arange(self.reference.num_rows), self.h, self.whole)]
        return out + [(f"class {name}", *self.of_class(y)) for y, name in enumerate(self.names)]

    @property
    def _classes(self) -> Classes:
        if self.classes is None:
            raise ValueError("there are no classes: no categorical target is named")
        return self.classes


def sides(evidence: Evidence) -> Sides:
    """The sides of this evidence; made at the first call and kept in its memo."""
    if "sides" not in evidence.memo:
        evidence.memo["sides"] = _make(evidence)
    made: Sides = evidence.memo["sides"]
    return made


def _make(evidence: Evidence) -> Sides:
    restricted = restrict(evidence)
    found = classes(restricted)
    h, s = compared(restricted, found)
    places, whole = _drawn(found, s, restricted.synthetic.num_rows, evidence.intent.seed)
    synthetic = restricted.synthetic
    everything = len(places) == synthetic.num_rows
    sample = synthetic if everything and synthetic.in_memory else synthetic.take(places)
    return Sides(
        train=_held(restricted.train),
        reference=_held(restricted.reference),
        holdout=_held(restricted.holdout),
        synthetic=sample if everything else synthetic,
        intent=evidence.intent,
        classes=found,
        h=h,
        s=s,
        rows=synthetic.num_rows if s is None else int(s.sum()),
        sample=sample,
        places=places,
        whole=whole,
    )


def _held(rows: Dataset) -> Dataset:
    return rows if rows.in_memory else replace(rows, source=rows.table, adapt=None)


def _drawn(found: Classes | None, s: Array | None, total: int, seed: int) -> tuple[Array, Array]:
    """Positions of the synthetic rows to hold, ascending, and which of them are a fair draw of the rows compared."""
    if total <= WHOLE_ROWS:
        places = np.arange(total)
        return places, places if s is None else np.flatnonzero(s)
    rng = np.random.default_rng([seed, 29])
    fair = _fair(s, total, rng)
    held = np.zeros(total, dtype=bool)
    held[fair] = True
    for y in range(0 if found is None else len(found.names)):
        # A rare class has few rows in a fair draw; its own tests need more.
        inside = found.synthetic == y  # type: ignore[union-attr]  # there are no names without classes
        short = CLASS_ROWS - int((inside & held).sum())
        if short <= 0:
            continue  # a common class; listing its rows would take eight bytes for each
        rest = np.flatnonzero(inside & ~held)
        held[rest if short >= len(rest) else rng.choice(rest, short, replace=False)] = True
    places = np.flatnonzero(held)
    return places, np.searchsorted(places, fair)


def _fair(s: Array | None, total: int, rng: np.random.Generator) -> Array:
    if s is None:
        return np.sort(rng.choice(total, WHOLE_ROWS, replace=False))
    kept = np.flatnonzero(s)
    return kept if len(kept) <= WHOLE_ROWS else np.sort(rng.choice(kept, WHOLE_ROWS, replace=False))
