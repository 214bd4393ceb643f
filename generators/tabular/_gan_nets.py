"""Which networks play the game, and how do they see a row?"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from data.encode_modes import Discrete, Modes, Numeric

Array = np.ndarray

#: How many states of a row are given up to the marginals at first, so that the network has something to weigh; shared
#: among the blocks, for thirty columns that each change two times in a hundred leave no row whole.
GIVE = 0.05
#: Temperature of the Gumbel softmax.
TEMPERATURE = 0.5
#: What the network says of a scalar counts this much: a tenth of a component's reach is already a third of its spread.
TOUCH = 0.2
#: Products of features that Moments keeps for all classes together, rows of a class they are taken from, and the share
#: of the running mean that a batch replaces.
MOMENTS, MOMENT_ROWS, FORGET = 4_000_000, 50_000, 0.1


@dataclass(frozen=True)
class Layout:
    """Where the blocks of the matrix lie, and what numbers they stand for.

    Fields:
        width: features d. hot: (start, stop) of every one-hot block. scalar: features that are scalars.
        conditions: for each column that can be a condition, its place in Modes.parts and (start, stop).
        centre, reach, pick: (d, p) maps from features to standardised values, see `values`.
        constant: (p, 2), what a column adds whose one-hot block was left out.
        marginal: (d,) mean of the features over train.
    """

    width: int
    hot: tuple[tuple[int, int], ...]
    scalar: tuple[int, ...]
    conditions: tuple[tuple[int, int, int], ...]
    centre: Tensor
    reach: Tensor
    pick: Tensor
    constant: Tensor
    marginal: Tensor

    @classmethod
    def of(cls, modes: Modes, matrix: np.ndarray) -> Layout:
        """matrix: (n, d), the encoded train rows."""
        spans = modes.spans
        hot = tuple((s.start, s.stop) for s in spans if s.kind != "scalar")
        place = {part.name: i for i, part in enumerate(modes.parts)}
        conditions = tuple((place[s.column], s.start, s.stop) for s in spans if isinstance(modes[s.column], Discrete))
        maps = _value_maps(modes, matrix)
        scalar = tuple(s.start for s in spans if s.kind == "scalar")
        marginal = torch.from_numpy(matrix.mean(axis=0, dtype=np.float64)).float()
        return cls(modes.width, hot, scalar, conditions, *maps, marginal)

    @property
    def blocks(self) -> tuple[bool, ...]:
        """Blocks in the order of their features: True where one-hot, False for a scalar."""
        return tuple(hot for _, _, hot in self._in_order)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of features of each block, in order."""
        return tuple(b - a for a, b, _ in self._in_order)

    @functools.cached_property
    def _in_order(self) -> list[tuple[int, int, bool]]:
        return sorted([(a, b, True) for a, b in self.hot] + [(a, a + 1, False) for a in self.scalar])

    @property
    def asked(self) -> int:
        """Width of the condition vector."""
        return sum(stop - start for _, start, stop in self.conditions)

    def values(self, rows: Tensor) -> Tensor:
        """Features (n, d) to the numbers they stand for, standardised: (n, p). Differentiable."""
        base = rows @ self.centre + self.constant[:, 0]
        return base + (rows @ self.reach + self.constant[:, 1]) * (rows @ self.pick)

    def to(self, device: torch.device) -> Layout:
        return self._with({name: value.to(device) for name, value in self.tensors().items()})

    def _with(self, tensors: dict[str, Tensor]) -> Layout:
        return Layout(self.width, self.hot, self.scalar, self.conditions, **tensors)

    def tensors(self) -> dict[str, Tensor]:
        """What was measured on train."""
        return {name: getattr(self, name) for name in ("centre", "reach", "pick", "constant", "marginal")}

    @classmethod
    def rebuild(cls, modes: Modes, tensors: dict[str, Tensor]) -> Layout:
        """From what `tensors` gave."""
        return cls.of(modes, np.zeros((1, modes.width), dtype=np.float32))._with(tensors)


def _value_maps(modes: Modes, matrix: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    numbers = [part for part in modes.parts if isinstance(part, Numeric) and len(part.mixture.means)]
    shape = (modes.width, len(numbers))
    centre, reach, pick, constant = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros((len(numbers), 2))
    for j, part in enumerate(numbers):
        spans = {s.kind: s for s in modes.spans if s.column == part.name}
        k, at = len(part.mixture.means), spans["scalar"].start
        pick[at, j] = 1
        if "modes" not in spans:
            constant[j] = part.mixture.means[0], part.mixture.reach[0]
            continue
        start = spans["modes"].start
        centre[start : start + k, j] = part.mixture.means
        centre[start + k : start + k + len(part.spikes), j] = part.spikes
        reach[start : start + k, j] = part.mixture.reach
    return _standardised(matrix, numbers, modes, centre, reach, pick, constant)


def _standardised(
    matrix: Array, numbers: list[Numeric], modes: Modes, centre: Array, reach: Array, pick: Array, constant: Array
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The maps, such that what they give has mean 0 and variance 1 over train; null stands for the mean."""
    raw = matrix @ centre + constant[:, 0] + (matrix @ reach + constant[:, 1]) * (matrix @ pick)
    for j, part in enumerate(numbers):
        spans = {s.kind: s for s in modes.spans if s.column == part.name}
        null = spans["modes"].stop - 1 if part.nulls else -1
        seen = raw[:, j] if null < 0 else raw[matrix[:, null] < 0.5, j]
        mean, spread = float(seen.mean()), float(seen.std()) or 1.0
        # Null stands for the mean: its centre stays 0 after standardisation.
        if "modes" in spans:
            live = slice(spans["modes"].start, spans["modes"].stop - part.nulls)
            centre[live, j] -= mean
        else:
            constant[j, 0] -= mean
        centre[:, j] /= spread
        reach[:, j] /= spread
        constant[j] /= spread
    first, second, third, fourth = (torch.from_numpy(a).float() for a in (centre, reach, pick, constant))
    return first, second, third, fourth


def whitening(values: Tensor) -> Tensor:
    """Rotation and scale after which the numbers are uncorrelated: (n, p) -> (p, p).

    Directions of little variance are where a wrong correlation shows; they are stretched at most tenfold."""
    if not values.shape[1]:
        return torch.zeros(0, 0)
    centred = (values - values.mean(0)).double()
    variance, axes = torch.linalg.eigh(centred.T @ centred / max(len(values), 1))
    return torch.as_tensor((axes / variance.clamp(min=0.01).sqrt()).float())


class Generator(nn.Module):
    """A row of the linear start, noise and a condition become a correction of the row; the last layer begins at zero.

    Layer instead of batch normalisation: a row must not depend on the rows drawn beside it. The start itself is added
    in `heads`, so the layers are added up (He et al. 2016) and not joined as in Xu et al. 2019: half of the work."""

    def __init__(self, layout: Layout, latent: int, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(layout.width + latent + layout.asked, width), nn.Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.head = nn.Linear(width, layout.width)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, start: Tensor, noise: Tensor, asked: Tensor) -> Tensor:
        """(n, d), (n, latent), (n, c) -> corrections (n, d) of logits and scalars."""
        x = torch.relu(self.norms[0](self.first(torch.cat([start, noise, asked], dim=1))))
        x = x + torch.relu(self.norms[1](self.second(x)))
        return torch.as_tensor(self.head(x))


class Critic(nn.Module):
    """How real do `pac` rows look together? Sees the features, the numbers they stand for, and those whitened.

    Source: Lin et al. 2018 (PacGAN, arXiv 1712.04086): several rows judged together show a collapse."""

    def __init__(self, layout: Layout, width: int, pac: int) -> None:
        super().__init__()
        self.pac = pac
        numbers = layout.centre.shape[1]
        size = (layout.width + 2 * numbers + layout.asked) * pac
        self.body = nn.Sequential(
            nn.Linear(size, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
        )

    def forward(self, seen: Tensor) -> Tensor:
        """(n, size / pac) -> (n / pac, 1)."""
        return torch.as_tensor(self.body(seen.reshape(len(seen) // self.pac, -1)))


def logits(layout: Layout, start: Tensor, correction: Tensor) -> Tensor:
    """Log-probabilities of the one-hot blocks before normalisation: the start's state, softened, and corrected. (n, d)."""
    give = GIVE / max(len(layout.hot), 1)
    return torch.log((1 - give) * start.clamp(min=0) + give * layout.marginal.clamp(min=1e-6)) + correction


def heads(layout: Layout, raw: Tensor, start: Tensor, correction: Tensor, gumbel: Tensor) -> Tensor:
    """A row (n, d): hard one-hot blocks with the gradient of the soft ones, scalars in [-1, 1]. raw: see `logits`.

    Source: Jang et al. 2017 (straight-through Gumbel softmax), so that the critic cannot tell real rows by hardness."""
    noisy = ((raw + gumbel) / TEMPERATURE).split(layout.widths, dim=1)  # type: ignore[no-untyped-call]
    at = list(layout.scalar)
    moved = torch.tanh(torch.atanh(start[:, at].clamp(-0.999, 0.999)) + TOUCH * correction[:, at])
    scalars = iter(moved.split(1, dim=1))  # type: ignore[no-untyped-call]
    hot = layout.blocks
    soft = torch.cat([torch.softmax(x, dim=1) if h else next(scalars) for x, h in zip(noisy, hot, strict=True)], dim=1)
    if not layout.hot:
        return soft
    with torch.no_grad():
        won = torch.stack([soft[:, a:b].argmax(1) + a for a, b in layout.hot], dim=1)
        hard = torch.zeros_like(soft).scatter_(1, won, 1.0)
        hard[:, at] = soft[:, at]
    return soft + (hard - soft).detach()


def gumbel(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    uniform = torch.rand(shape, generator=rng, device=rng.device).clamp_(1e-9, 1 - 1e-7)
    return uniform.log_().neg_().log_().neg_()


class Moments:
    """Are means and products of features, class by class, those of train? What train cannot tell apart is no error.

    The fakes' moments are running means, so that a batch's own noise does not drive the generator; a deviation counts
    from one standard error of train upwards, in units of the product's spread. Features are the one-hot blocks and the
    numbers they stand for, so products are the shares of pairs of levels, means by level, and correlations. When there
    are many, a random projection of them (its products are random sums of theirs).

    Source: Park et al. 2018 (table-GAN, arXiv 1806.03384), section 4.2.2, information loss, there on the critic's
    features; Li et al. 2015 (arXiv 1502.02761), moment matching."""

    def __init__(self, layout: Layout, rows: Tensor, labels: Tensor, classes: int, rng: torch.Generator) -> None:
        self.layout = layout
        width = min(layout.width + layout.centre.shape[1], max(int((MOMENTS / classes) ** 0.5), 1))
        self.sketch: Tensor | None = None
        if width < layout.width + layout.centre.shape[1]:
            size = (layout.width + layout.centre.shape[1], width)
            self.sketch = (torch.randn(size, generator=rng) / size[0] ** 0.5).to(rows.device)
        target, unit, free = [], [], []
        for k in range(classes):
            own = self.features(rows[labels == k][:MOMENT_ROWS])
            n = max(len(own), 1)
            mean = own.T @ own / n
            variance = ((own**2).T @ own**2 / n - mean**2).clamp(min=0)
            target.append(mean)
            unit.append(1 / (variance + 0.01))
            free.append((variance / n).sqrt())
        self.target, self.unit, self.free = torch.stack(target), torch.stack(unit), torch.stack(free)
        self.seen = self.target.clone()

    def features(self, rows: Tensor) -> Tensor:
        """(n, d) -> (n, f)."""
        whole = torch.cat([rows, self.layout.values(rows)], dim=1)
        return whole if self.sketch is None else whole @ self.sketch

    def gap(self, rows: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
        """How far the fakes' moments are off; rows (n, d) were asked to be of the classes `labels` (n,), and count
        `weight` (n,). Scalar, differentiable in this batch's rows. Moves the running means."""
        total = rows.new_zeros(())
        present = torch.unique(labels).tolist()
        made = self.features(rows)
        for k in present:
            at = torch.nonzero(labels == k)[:, 0]
            own = made[at]
            batch = (own * (weight[at] / weight[at].sum())[:, None]).T @ own
            mean = self.seen[k].lerp(batch, FORGET)
            over = ((mean - self.target[k]).abs() - self.free[k]).clamp(min=0)
            total = total + (over**2 * self.unit[k]).sum() / (FORGET * len(present))
            self.seen[k] = mean.detach()
        return total / max(len(self.layout.blocks), 1)
