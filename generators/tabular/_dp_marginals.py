"""Which marginals are worth their noise, and which rows have these marginals?

Rounds of: find the marginals that the model of so far gets wrong most, measure them with noise, fit the model to all that was
measured (a Markov random field, by mbi).

Source: McKenna et al. 2022 (AIM, arXiv 2201.12677), algorithms 1 to 3. What is different: how wrong the model is about a
marginal is told by rows drawn from it, not by inference, several are chosen before each fit, which compiles, and each column is
measured with the class beforehand."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from generators.base import SILENT, GeneratorError, Progress
from generators.tabular._dp_bins import SURE
from generators.tabular._dp_noise import Noise

Array = np.ndarray
Clique = tuple[int, ...]
#: Of the budget: what the marginals of single columns take; and of what each other marginal may spend, what choosing it takes.
SINGLES, CHOOSING = 0.15, 0.1
#: Rows that are drawn from the model to see how wrong it is, and steps of fitting it in a round and at the end.
DRAWN, STEPS, LAST_STEPS = 60_000, 300, 1_000
#: How often the model is fitted anew at most.
ROUNDS = 5
#: Cells of a marginal, and of the whole model, at most.
CELLS, MODEL_CELLS = 30_000, 2_000_000
#: How much more a marginal with the class counts than one without.
CLASSED = 2.0


@dataclass(frozen=True)
class Chain:
    """Columns in the order in which they are drawn, each given some before it.

    order: columns; parents: of each, some of those before it; tables: of each (sizes of the parents..., own size) chances."""

    order: tuple[int, ...]
    parents: tuple[Clique, ...]
    tables: tuple[Array, ...]

    def draw(self, n: int, rng: np.random.Generator, given: dict[int, int] | None = None) -> Array:
        """(n, columns) tokens. given: tokens of columns that are set, not drawn: exact where they come first."""
        out = np.zeros((n, len(self.order)), dtype=np.int64)
        for column, parents, table in zip(self.order, self.parents, self.tables, strict=True):
            if given and column in given:
                out[:, column] = given[column]
                continue
            u = rng.random(n)
            size = table.shape[-1]
            rows = table.reshape(-1, size)
            at = np.zeros(n, dtype=np.int64)
            for parent, width in zip(parents, table.shape[:-1], strict=True):
                at = at * width + out[:, parent]
            cumulated = np.cumsum(rows, axis=1)
            flat = (cumulated + np.arange(len(rows))[:, None]).ravel()
            found = np.searchsorted(flat, u * cumulated[at, -1] + at, side="right") - at * size
            out[:, column] = np.clip(found, 0, size - 1)
        return out

    def without_last(self, columns: Sequence[int]) -> Chain:
        """The chain that never draws the last token of these columns."""
        tables = []
        for column, table in zip(self.order, self.tables, strict=True):
            if column in columns:
                whole = table.reshape(-1, table.shape[-1]).sum(axis=0)[:-1]
                table = np.concatenate([table[..., :-1], np.zeros_like(table[..., :1])], axis=-1)
                # Where it was all that was drawn, the others are drawn as they are as a whole.
                table[..., :-1] += (table.sum(axis=-1, keepdims=True) <= 1e-12) * whole
                table /= table.sum(axis=-1, keepdims=True)
            tables.append(table)
        return Chain(self.order, self.parents, tuple(tables))


@dataclass
class Measured:
    """What was measured: cliques, noisy counts (flat), standard deviations."""

    cliques: list[Clique] = field(default_factory=list)
    counts: list[Array] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)

    def add(self, clique: Clique, counts: Array, deviation: float) -> None:
        """One more."""
        self.cliques.append(clique)
        self.counts.append(counts)
        self.deviations.append(deviation)


@contextmanager
def _quiet() -> Iterator[None]:
    """Mbi warns of jax's global settings at import; numbers have 64 bits only within."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jax

        with jax.enable_x64(True):
            yield


def counted(rows: Array, clique: Clique, sizes: Sequence[int]) -> Array:
    """(n, columns) tokens -> counts of a marginal, flat."""
    at = np.zeros(len(rows), dtype=np.int64)
    for column in clique:
        at = at * sizes[column] + rows[:, column]
    return np.bincount(at, minlength=math.prod(sizes[c] for c in clique)).astype(float)


def learn(
    rows: Array,
    sizes: Sequence[int],
    classed: int | None,
    rho: float,
    marginals: int,
    source: Noise,
    progress: Progress,
    *,
    nulls: Sequence[int] = (),
) -> Chain:
    """The chain that rows are drawn by. rows: (n, columns) tokens; classed: the class's column; rho: what all this
    may spend; marginals: how many are measured; nulls: columns whose last token is null, which is drawn where its count is
    clear.

    Raises GeneratorError where mbi is not installed."""
    try:
        with _quiet():
            import mbi  # noqa: F401
    except ImportError:
        raise GeneratorError(
            "generator.use: marginals needs mbi, which is not installed; run: pip install 'counterpoise[dp-marginals]'"
        ) from None
    columns, measured = len(sizes), Measured()
    deviation = math.sqrt(columns / (2 * SINGLES * rho))
    for c in range(columns):
        measured.add((c,), counted(rows, (c,), sizes) + deviation * source.normal(sizes[c]), deviation)
    unseen = [c for c in nulls if sizes[c] > 1 and measured.counts[c][-1] <= SURE * deviation]
    total = max(float(np.mean([counts.sum() for counts in measured.counts])), 1.0)
    first = _with_class(sizes, classed, marginals)
    rounds = min(ROUNDS, marginals - len(first))
    picks = -(-(marginals - len(first)) // rounds)
    share = rho * (1 - SINGLES) / (len(first) + rounds * picks)
    noise = math.sqrt(1 / (2 * share))
    for clique in first:
        counts = counted(rows, clique, sizes)
        measured.add(clique, counts + noise * source.normal(len(counts)), noise)
    candidates = [c for c in _candidates(sizes, classed) if c not in first]
    model = _fit(measured, sizes, total, None, STEPS)
    for turn in range(rounds):
        drawn = _chain(model, sizes, classed).draw(DRAWN, np.random.default_rng(turn))
        chosen = _Choice(rows, drawn, sizes, classed, share, source)
        chosen.measure(measured, candidates, picks, total, room=MODEL_CELLS * (turn + 1) / rounds)
        progress.advance(len(first) + (turn + 1) * picks, len(first) + rounds * picks, "marginal")
        last = turn + 1 == rounds
        model = _fit(measured, sizes, total, model, LAST_STEPS if last else STEPS, progress if last else SILENT)
    return _chain(model, sizes, classed).without_last(unseen)


def _with_class(sizes: Sequence[int], classed: int | None, most: int) -> list[Clique]:
    """Each column with the class, measured before anything is chosen, where `most` marginals are more than these.

    What is chosen by how many rows it gets wrong is chosen for frequent classes; marginals of three columns are mostly noise
    where the class is rare: what each column alone says of it is then all that is known."""
    if classed is None or sizes[classed] < 2:
        return []
    pairs: list[Clique] = [(min(c, classed), max(c, classed)) for c, size in enumerate(sizes) if c != classed and size > 1]
    return pairs if len(pairs) < most else []


@dataclass(frozen=True)
class _Choice:
    """The marginals of a round: chosen one after the other by what the model of the round before gets wrong, and measured.

    rows: real tokens; drawn: tokens drawn from that model; share: of rho, what choosing and measuring one may spend."""

    rows: Array
    drawn: Array
    sizes: Sequence[int]
    classed: int | None
    share: float
    source: Noise

    def measure(self, measured: Measured, candidates: Sequence[Clique], picks: int, total: float, *, room: float) -> None:
        """Add up to so many marginals to those that are measured; the model may then have `room` cells."""
        noise, choosing = math.sqrt(1 / (2 * (1 - CHOOSING) * self.share)), math.sqrt(8 * CHOOSING * self.share)
        scores = _scores(self.rows, self.drawn, total, candidates, self.sizes, self.classed, noise)
        for _ in range(picks):
            able = [c for c in scores if _size([*measured.cliques, c], self.sizes) <= room]
            if not able:
                return
            sensitivity = max(_weight(c, self.classed) for c in able)
            noisy = choosing / (2 * sensitivity) * np.array([scores[c] for c in able]) + self.source.gumbel(len(able))
            clique = able[int(np.argmax(noisy))]
            counts = counted(self.rows, clique, self.sizes)
            measured.add(clique, counts + noise * self.source.normal(len(counts)), noise)
            # What it tells of its parts need not be told again.
            scores = {c: score for c, score in scores.items() if not set(c) <= set(clique)}


def _candidates(sizes: Sequence[int], classed: int | None) -> list[Clique]:
    """All pairs, and with the class all triples, of at most CELLS cells."""
    live = [c for c, size in enumerate(sizes) if size > 1]
    pairs = list(itertools.combinations(live, 2))
    triples = [tuple(sorted((classed, *pair))) for pair in pairs if classed not in pair] if classed in live else []
    return [c for c in [*pairs, *triples] if math.prod(sizes[k] for k in c) <= CELLS]


def _weight(clique: Clique, classed: int | None) -> float:
    """How much being wrong about a marginal counts; what one row can change of its score at most."""
    return (CLASSED if classed in clique else 1.0) * len(clique)


def _scores(
    rows: Array,
    drawn: Array,
    total: float,
    candidates: Sequence[Clique],
    sizes: Sequence[int],
    classed: int | None,
    noise: float,
) -> dict[Clique, float]:
    """How wrong the model is about each marginal, beyond how wrong measuring it would be."""
    out = {}
    for clique in candidates:
        gap = np.abs(counted(rows, clique, sizes) - counted(drawn, clique, sizes) * total / len(drawn)).sum()
        blur = math.sqrt(2 / math.pi) * noise * math.prod(sizes[k] for k in clique)
        out[clique] = _weight(clique, classed) * float(gap - blur)
    return out


# --- mbi ----------------------------------------------------------------------------------------------------------------------


def _name(column: int) -> str:
    return f"c{column:03d}"


def _domain(sizes: Sequence[int]) -> Any:
    from mbi import Domain

    return Domain([_name(c) for c in range(len(sizes))], list(sizes))


def _size(cliques: Sequence[Clique], sizes: Sequence[int]) -> float:
    """Cells of the cliques of a model of these marginals."""
    from mbi import junction_tree

    tree, _ = junction_tree.make_junction_tree(_domain(sizes), [tuple(map(_name, c)) for c in cliques])
    return float(sum(math.prod(sizes[int(name[1:])] for name in node) for node in tree.nodes))


def _fit(measured: Measured, sizes: Sequence[int], total: float, start: Any, steps: int, progress: Progress = SILENT) -> Any:
    """The Markov random field of most entropy that fits what was measured."""
    with _quiet():
        from mbi import LinearMeasurement, estimation

        found = [
            LinearMeasurement(counts, tuple(map(_name, clique)), deviation)
            for clique, counts, deviation in zip(measured.cliques, measured.counts, measured.deviations, strict=True)
        ]
        blocks = itertools.count(1)

        def told(_: Any) -> None:
            progress.advance(min(next(blocks) * estimation.CALLBACK_EVERY, steps), steps, "step")

        return estimation.MirrorDescent().estimate(
            _domain(sizes), found, known_total=total, iters=steps, warm_start=start, callback_fn=told
        )


def _chain(model: Any, sizes: Sequence[int], classed: int | None) -> Chain:
    """The model as a chain: the class first, then clique by clique along the junction tree."""
    import networkx as nx

    with _quiet():
        from mbi import junction_tree, marginal_oracles

        tree, _ = junction_tree.make_junction_tree(_domain(sizes), [tuple(c) for c in model.cliques])
        nodes = list(tree.nodes)
        marginals = marginal_oracles.message_passing_stable(model.potentials.expand(nodes), model.total)
        tables = {node: np.asarray(marginals.project(node).datavector(flatten=False), dtype=np.float64) for node in nodes}
    first = [node for node in nodes if classed is not None and _name(classed) in node] or nodes
    order: list[int] = []
    parents: list[Clique] = []
    chances: list[Array] = []
    seen: set[Any] = set()
    for start in [first[0], *nodes]:
        walk = [] if start in seen else [start, *(b for _, b in nx.bfs_edges(tree, start))]
        for node in walk:
            seen.add(node)
            own = [int(name[1:]) for name in node]
            # The class is drawn first of all.
            for column in sorted((c for c in own if c not in order), key=lambda c: c != classed):
                given = tuple(c for c in own if c in order)
                order.append(column)
                parents.append(given)
                chances.append(_given(tables[node], own, given, column))
    return Chain(tuple(order), tuple(parents), tuple(chances))


def _given(table: Array, axes: Sequence[int], given: Clique, column: int) -> Array:
    """A clique's marginal as the chances of a column given others of it. axes: the columns of the marginal."""
    kept = [*given, column]
    out = table.sum(axis=tuple(i for i, c in enumerate(axes) if c not in kept))
    left = [c for c in axes if c in kept]
    out = np.maximum(np.transpose(out, [left.index(c) for c in kept]), 0.0)
    whole = out.sum(axis=-1, keepdims=True)
    # What never was is drawn as the column is as a whole.
    alone = np.maximum(table.sum(axis=tuple(i for i, c in enumerate(axes) if c != column)), 1e-12)
    return np.asarray(np.where(whole > 1e-9, out / np.maximum(whole, 1e-9), alone / alone.sum()))
