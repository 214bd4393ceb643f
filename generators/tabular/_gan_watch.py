"""Are the network's rows nearer to train than those it started from, and which of them should be kept?"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from data.encode_modes import Modes, Numeric
from generators.tabular._gan_nets import Layout
from generators.tabular._location import Location

Array = np.ndarray
Draw = Callable[[int, dict[int, int], int], tuple[Array, Array]]

#: The watch draws at least and at most so many rows, looks at so many pairs, none of them with more cells.
WATCHED, PAIRS, CELLS = (2_000, 20_000), 300, 250_000
#: The referee learns from at most so many rows of each side, for so many passes, and stops after PATIENT without gain.
REFEREED, PASSES, PATIENT = 60_000, 40, 4
#: One row in so many is held back from the referee, to stop it; its gain there must be so many standard errors.
HELD, SURE = 5, 2.0
#: Log-ratios are cut here: no row is taken to be e^3 times likelier than it was drawn.
CUT = 3.0
#: The share of the referee's moving average that is kept each step, after its first pass.
MEAN = 0.98


class Watch:
    """Whose rows are nearer to train, class by class: those of the start, or those of the network of this moment?

    All columns are cut into cells (their states; free numbers by train's deciles), and all pairs of columns into pairs
    of cells. The figure is the triangular discrimination between the shares in train and in drawn rows, 0 (equal) to 2
    (disjoint), averaged over pairs and classes. The same start rows and noise serve every look, so that two figures
    differ by the network alone. Nothing is held back for it: cells are too coarse to reward copies of rows.

    Source: Topsoe 2000 (triangular discrimination); early stopping by a statistic of the generated rows is usual since
    Heusel et al. 2017 (checkpoints by FID)."""

    def __init__(self, modes: Modes, start: Location, matrix: np.ndarray, rng: np.random.Generator) -> None:
        self.modes, classed = modes, start.tree.classed
        rows = rng.choice(len(matrix), WATCHED[1], replace=False) if len(matrix) > WATCHED[1] else np.arange(len(matrix))
        states, values = snapped(modes, *modes.decode(matrix[rows]))
        self.cuts = [_deciles(values[:, i]) for i in range(values.shape[1])]
        self.sizes = [part.states + len(cuts) for part, cuts in zip(modes.parts, self.cuts, strict=True)]
        labels = states[:, classed] if classed >= 0 else np.zeros(len(states), dtype=np.int64)
        classes = np.flatnonzero(np.bincount(labels, minlength=1))
        each = max(min(WATCHED[1] // len(classes), max(2 * len(matrix), WATCHED[0])), 50)
        drawn = [start.draw(each, {classed: int(k)} if classed >= 0 else {}, rng) for k in classes]
        self.labels = np.repeat(classes, each)
        self.classes = int(classes.max()) + 1
        self.pairs = self._pairs(classes, rng)
        self.seed = int(rng.integers(2**62))
        self.want = self._shares(states, values, labels)
        mine, numbers = (np.concatenate(x) for x in zip(*drawn, strict=True))
        self.matrix = modes.encode(mine, numbers)
        self.start_figure = self._distance(*snapped(modes, mine, numbers))

    def figure(self, make: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> float:
        """`make` turns start rows (n, d), their labels (n,) and a seed into rows (n, d)."""
        return self._distance(*snapped(self.modes, *self.modes.decode(make(self.matrix, self.labels, self.seed))))

    def _pairs(self, classes: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
        live = [i for i, size in enumerate(self.sizes) if size > 1]
        pairs = [(a, b) for at, a in enumerate(live) for b in live[at:]]
        pairs = [(a, b) for a, b in pairs if self.classes * self.sizes[a] * self.sizes[b] <= CELLS]
        return [pairs[i] for i in rng.permutation(len(pairs))[:PAIRS]]

    def _shares(self, states: np.ndarray, values: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """For each pair of columns the shares within each class, (classes, cells)."""
        codes = [
            np.where(states[:, i] == 0, np.searchsorted(cuts, values[:, i], side="right"), states[:, i] + len(cuts))
            if len(cuts)
            else states[:, i]
            for i, cuts in enumerate(self.cuts)
        ]
        out = []
        for a, b in self.pairs:
            cells = self.sizes[a] * self.sizes[b]
            place = labels * cells + codes[a] * self.sizes[b] + codes[b]
            counts = np.bincount(place, minlength=self.classes * cells).reshape(self.classes, cells)
            out.append(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
        return out

    def _distance(self, states: np.ndarray, values: np.ndarray) -> float:
        present = np.unique(self.labels)
        total = 0.0
        for p, q in zip(self.want, self._shares(states, values, self.labels), strict=True):
            p, q = p[present], q[present]
            total += float(((p - q) ** 2 / np.maximum(p + q, 1e-12)).sum(axis=1).mean())
        return total / max(len(self.pairs), 1)


def _deciles(values: np.ndarray) -> np.ndarray:
    """Cuts between tenths of the free values; none where a column has none."""
    free = values[~np.isnan(values)]
    return np.unique(np.quantile(free, np.linspace(0.1, 0.9, 9))) if len(free) else np.zeros(0)


def snapped(modes: Modes, states: Array, values: Array) -> tuple[Array, Array]:
    """Free values moved to the grid of their column, where it has one: as the drawn table will hold them."""
    out = values.copy()
    for i, part in enumerate(modes.parts):
        if isinstance(part, Numeric) and len(part.grid):
            free = ~np.isnan(values[:, i])
            out[free, i] = part.grid[np.searchsorted((part.grid[1:] + part.grid[:-1]) / 2, values[free, i])]
    return states, out


class Referee(nn.Module):
    """How much likelier is a row in train than among the drawn ones? Its answer decides which of several rows is kept.

    A classifier of single rows, train against drawn, class by class; with balanced sides its logit is the log of the
    ratio of densities. It is stopped on held-back rows, and unless its gain there is sure it says 0 of every row: then
    rows are kept as they are drawn.

    Source: Azadi et al. 2019 (discriminator rejection sampling, arXiv 1810.06758); Turner et al. 2019 (MH-GAN, arXiv
    1811.11357), calibration on held-back rows; Rubin 1987 (sampling importance resampling)."""

    def __init__(self, layout: Layout, white: Tensor, width: int, block: tuple[int, int], of: int) -> None:
        """block: features of the class, (0, 0) for none. of: rows among which one is chosen."""
        super().__init__()
        self.layout, self.block, self.of = layout, block, of
        size = layout.width + layout.centre.shape[1]
        self.register_buffer("white", white)
        self.register_buffer("tilt", torch.zeros(max(block[1] - block[0], 1), size))
        self.body = nn.Sequential(
            *(nn.Linear(size + white.shape[1], width), nn.SiLU(), nn.Dropout(0.1)),
            *(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1)),
        )

    def features(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, d + p): the features, and the numbers they stand for."""
        return torch.cat([rows, self.layout.values(rows)], dim=1)

    def labels(self, rows: Tensor) -> Tensor:
        """The class of each row, (n,)."""
        first, last = self.block
        return rows[:, first:last].argmax(1) if last else torch.zeros(len(rows), dtype=torch.long)

    def forward(self, rows: Tensor) -> Tensor:
        """Encoded rows (n, d) to log-ratios (n,), before the tilt."""
        seen = self.features(rows)
        values = seen[:, self.layout.width :]
        return torch.as_tensor(self.body(torch.cat([seen, values @ self.get_buffer("white")], dim=1))[:, 0])

    @torch.no_grad()
    def weigh(self, rows: Tensor) -> Tensor:
        """Log-ratios (n,) with the tilt of each row's class."""
        tilted = (self.features(rows) @ self.get_buffer("tilt").T).gather(1, self.labels(rows)[:, None])[:, 0]
        return torch.as_tensor(self(rows).clamp(-CUT, CUT) + tilted)

    @torch.no_grad()
    def choose(self, rows: Tensor, rng: np.random.Generator) -> Array:
        """Places of the rows kept, one of every `of` of a class, by their ratios. (n * of, d) -> (n,), ascending."""
        logs = torch.cat([self.weigh(part) for part in rows.split(8192)]).numpy()  # type: ignore[no-untyped-call]
        # Rows compete within their class alone, or else the classes' shares would move.
        order = np.argsort(self.labels(rows).numpy(), kind="stable").reshape(-1, self.of)
        won = (logs[order] + rng.gumbel(size=order.shape)).argmax(axis=1)
        return np.sort(order[np.arange(len(won)), won])

    def balance(self, real: Tensor, fake: Tensor) -> None:
        """Tilt the log-ratios linearly, class by class, until the rows chosen have the means of train in every feature.

        A convex problem; its ridge is a standard normal prior on the tilt. Source: Hainmueller 2012 (entropy balancing);
        Deville and Sarndal 1992 (raking); here the sums run over the rows among which one is chosen."""
        mine, theirs = self.labels(real), self.labels(fake)
        with torch.no_grad():
            logs = self(fake).clamp(-CUT, CUT)
        for k in range(len(self.get_buffer("tilt"))):
            own, drawn = self.features(real[mine == k]), torch.nonzero(theirs == k)[:, 0]
            drawn = drawn[: len(drawn) // self.of * self.of]
            if len(own) and len(drawn):
                self.get_buffer("tilt")[k] = _tilt(self.features(fake[drawn]), logs[drawn], own.mean(0), len(own), self.of)


def _tilt(features: Tensor, logs: Tensor, want: Tensor, n: int, of: int) -> Tensor:
    """(m, f) features and (m,) log-ratios of drawn rows, (f,) means of n train rows: the tilt (f,)."""
    tilt = torch.zeros_like(want, requires_grad=True)
    search = torch.optim.LBFGS([tilt], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        total = (logs + features @ tilt).reshape(-1, of).logsumexp(1).mean() - tilt @ want + (tilt**2).sum() / (2 * n)
        total.backward()  # type: ignore[no-untyped-call]
        return torch.as_tensor(total)

    search.step(loss)  # type: ignore[no-untyped-call]
    return tilt.detach() if torch.isfinite(tilt).all() else torch.zeros_like(want)


def teach(referee: Referee, real: Tensor, fake: Tensor, weight: Tensor, seed: int) -> bool:
    """Train on real rows (n, d), drawn with `weight` (n,), against fakes (m, d). Whether it gained for sure.

    The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % 2**63)
        for layer in referee.body:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        (mine, held), (drawn, apart) = _parted(len(real)), _parted(len(fake))
        adam = torch.optim.AdamW(referee.body.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        mean = copy.deepcopy(referee).eval()
        batch = min(max(len(mine) // 32, 32), 1000)
        best, since, state = (0.0, 0.0), 0, referee.state_dict()
        for turn in range(PASSES):
            _one_pass(referee, mean, adam, (real, mine, weight), (fake, drawn), batch, MEAN if turn else 0.8)
            gain = _gain(mean, real[held], weight[held], fake[apart])
            since += 1
            if gain[0] > best[0]:
                best, since = gain, 0
                state = {name: value.clone() for name, value in mean.state_dict().items()}
            if since >= PATIENT:
                break
    if not best[0] > SURE * best[1]:
        return False
    referee.load_state_dict(state)
    referee.eval()
    referee.balance(real, fake)
    return True


def _parted(n: int) -> tuple[Tensor, Tensor]:
    """Places of the rows learned from, and of those held back."""
    order = torch.randperm(n)
    return order[n // HELD :], order[: n // HELD]


def _one_pass(
    referee: Referee,
    mean: Referee,
    adam: torch.optim.Optimizer,
    mine: tuple[Tensor, Tensor, Tensor],
    theirs: tuple[Tensor, Tensor],
    batch: int,
    keep: float,
) -> None:
    """mine: all real rows, places learned from, weights; theirs: all fakes, places learned from."""
    real, places, weight = mine
    fake, drawn = theirs
    referee.train()
    for _ in range(-(-len(places) // batch)):
        first = places[torch.multinomial(weight[places], batch, replacement=True)]
        second = drawn[torch.randint(len(drawn), (batch,))]
        logs = referee(torch.cat([real[first], fake[second]]))
        loss = (nn.functional.softplus(-logs[:batch]) + nn.functional.softplus(logs[batch:])).mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.body.parameters()), list(referee.body.parameters()), 1 - keep)


@torch.no_grad()
def _gain(referee: Referee, real: Tensor, weight: Tensor, fake: Tensor) -> tuple[float, float]:
    """Log-likelihood above that of tossing a coin, in nats for a pair of rows, and its standard error."""
    referee.eval()
    ours = (0.6931471805599453 - nn.functional.softplus(-referee(real))).double()
    theirs = (0.6931471805599453 - nn.functional.softplus(referee(fake))).double()
    share = (weight / weight.sum()).double()
    mean = (share * ours).sum()
    error = (share**2 * (ours - mean) ** 2).sum() + theirs.var() / len(theirs)
    return float(mean + theirs.mean()), float(error.sqrt())
