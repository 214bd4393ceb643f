"""Which networks play the game, and how do they see a row?"""

from __future__ import annotations

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
    def asked(self) -> int:
        """Width of the condition vector."""
        return sum(stop - start for _, start, stop in self.conditions)

    def values(self, rows: Tensor) -> Tensor:
        """Features (n, d) to the numbers they stand for, standardised: (n, p). Differentiable."""
        base = rows @ self.centre + self.constant[:, 0]
        return base + (rows @ self.reach + self.constant[:, 1]) * (rows @ self.pick)

    def to(self, device: torch.device) -> Layout:
        moved = {name: getattr(self, name).to(device) for name in ("centre", "reach", "pick", "constant", "marginal")}
        return Layout(self.width, self.hot, self.scalar, self.conditions, **moved)


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
    """A row of the linear start, noise and a condition become a row; the last layer begins at zero.

    Residual layers of Xu et al. 2019, section 4.4, with layer instead of batch normalisation: a row must not depend
    on the rows drawn beside it."""

    def __init__(self, layout: Layout, latent: int, width: int) -> None:
        super().__init__()
        size = layout.width + latent + layout.asked
        self.first, self.second = nn.Linear(size, width), nn.Linear(size + width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.head = nn.Linear(size + 2 * width, layout.width)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, start: Tensor, noise: Tensor, asked: Tensor) -> Tensor:
        """(n, d), (n, latent), (n, c) -> corrections (n, d) of logits and scalars."""
        x = torch.cat([start, noise, asked], dim=1)
        x = torch.cat([x, torch.relu(self.norms[0](self.first(x)))], dim=1)
        x = torch.cat([x, torch.relu(self.norms[1](self.second(x)))], dim=1)
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


def heads(layout: Layout, start: Tensor, correction: Tensor, gumbel: Tensor) -> Tensor:
    """A row (n, d): hard one-hot blocks with the gradient of the soft ones, scalars in [-1, 1].

    Source: Jang et al. 2017 (straight-through Gumbel softmax), so that the critic cannot tell real rows by hardness."""
    out = torch.empty_like(start)
    raw = logits(layout, start, correction) + gumbel
    for a, b in layout.hot:
        soft = torch.softmax(raw[:, a:b] / TEMPERATURE, dim=1)
        hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
        out[:, a:b] = hard + soft - soft.detach()
    at = list(layout.scalar)
    if at:
        out[:, at] = torch.tanh(torch.atanh(start[:, at].clamp(-0.999, 0.999)) + TOUCH * correction[:, at])
    return out


def gumbel(shape: tuple[int, ...], rng: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    uniform = torch.rand(shape, generator=rng, device=rng.device).clamp(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))
