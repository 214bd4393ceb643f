"""Where in their bins do the numbers of a row lie, all together? A velocity that carries chance to places, told the tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.tabular._density_train import Density
from generators.tabular._diffusion_start import Start

Array = np.ndarray
#: Waves along a column's ranks, and along time.
WAVES, TIMES = 4, 8
#: Places are kept so far from the ends of a bin.
EDGE = 1e-4
#: Share of rows whose class is hidden, and of those some of whose numbers are shown, while training.
HIDDEN, SHOWN = 0.1, 0.2
ROOT = math.sqrt(2.0)


class Block(nn.Module):
    """(n, width), (n, width) told -> (n, width): a residual layer that what is told scales and shifts."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.told, self.first, self.last = nn.Linear(width, 2 * width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(drop)
        nn.init.zeros_(self.told.weight)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told).chunk(2, dim=1)
        out: Tensor = x + self.last(self.drop(F.silu(self.first(self.norm(x) * (1 + scale) + shift))))
        return out


class Net(Density):
    """The velocity of flow matching in the normal scores of places within bins.

    A place s in (0, 1) along a bin is the point x = normal quantile of s, and paths are straight: x_t = (1 - t) x_0 + t x_1.
    Chance x_0 begins as a Gaussian copula says that numbers lie in the bins of their row (_diffusion_start.py), or as what a
    number is when its bin alone is known. What the network adds to the velocity between two such normal distributions, which
    is known, is all that it has to learn: nothing, where the start is right.

    Sources: Lipman et al. 2023 (Flow Matching, arXiv 2210.02747), section 4.1; Mueller et al. 2026 (Cascaded Flow Matching,
    arXiv 2601.22816): a coarse row first and a start that it implies. What is different: bins are of equal mass and places in
    them normal scores, where the paper learns a normal distribution for each bin, so that the start needs no training and no
    number leaves its bin; some numbers are shown now and then, so that conditions on numbers are kept without a search.

    tokens: how many there are of all fields. fields: of each column, the place of its token among a row's. low, wide: (columns,
    most tokens) where a column's tokens begin among the rows of its bins and their share of them; see data/encode_detail.py.
    classed: the place of the class among a row's fields, None where there is none. begin: where each field's tokens begin.
    start: what chance begins as, None for independent places."""

    low: Tensor
    wide: Tensor
    begin: Tensor

    def __init__(
        self, begin: Sequence[int], fields: Sequence[int], low: Array, wide: Array, classed: int | None, width: int,
        depth: int, drop: float, start: Start | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        count = len(fields)
        self.fields, self.classed, self.count = list(fields), classed, count
        starts = np.array(list(begin)[:-1])
        for name, value in (("low", low), ("wide", wide), ("begin", starts)):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.start = start
        # The last is the class that is hidden.
        self.tokens = nn.Parameter(torch.randn(begin[-1] + 1, width) / math.sqrt(len(begin)))
        self.enter = nn.Linear(count * (3 + 2 * WAVES), width)
        self.time = nn.Sequential(nn.Linear(2 * TIMES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Block(width, drop) for _ in range(depth))
        self.leave = nn.Linear(width, count)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def begin_from(self, *rows: Tensor) -> None:
        """Where chance begins is learned first, from the rows that `losses` takes."""
        if self.start is not None:
            tokens, low, high = rows
            chance = torch.rand(low.shape, generator=torch.Generator().manual_seed(0)).to(low)
            self.start.begin(tokens, score(low + chance * (high - low)), self.wide.cpu().numpy() > 0)

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """Squared error of the velocity, the mean over the numbers of each row that move: (n,).

        rows: (n, fields) tokens of each field, and (n, columns) from where to where each number stretches along its bin."""
        tokens, low, high = rows
        span = self.spans(tokens)
        x1 = score(low + torch.rand_like(low) * (high - low))
        # Times of a batch are spread evenly, and so is what they add to the error.
        t, share, some, hidden = (torch.rand(len(low), 1, device=low.device) for _ in range(4))
        t = (torch.randperm(len(low), device=low.device)[:, None] + t) / len(low)
        shown = (torch.rand_like(low) < share) & (some < SHOWN) & (span[1] > 0)
        hide = hidden[:, 0] < HIDDEN
        mean, root = self.law(tokens, hide, x1, shown)
        x0 = _drawn(mean, root, torch.randn_like(x1))
        xt = torch.where(shown, x1, (1 - t) * x0 + t * x1)
        moving = (span[1] > 0) & ~shown
        error = (self.velocity(xt, t, self.tell(tokens, hide), span, shown, mean) - (x1 - x0)).square()
        return (error * moving).sum(dim=1) / moving.sum(dim=1).clamp(min=1)

    def spans(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Where the bin of each number begins among the column's rows, and its share of them: two of (n, columns)."""
        own = tokens[:, self.fields]
        column = torch.arange(self.count, device=tokens.device)
        return self.low[column, own], self.wide[column, own]

    def tell(self, tokens: Tensor, hidden: Tensor | None = None) -> Tensor:
        """What the tokens say: (n, width); hidden: (n,) whose class is not told."""
        places = tokens + self.begin
        if self.classed is not None and hidden is not None:
            places[:, self.classed] = torch.where(hidden, len(self.tokens) - 1, places[:, self.classed])
        return F.embedding_bag(places, self.tokens, mode="sum")

    def law(self, tokens: Tensor, hidden: Tensor | None, x: Tensor, shown: Tensor) -> tuple[Tensor, Tensor | None]:
        """Where chance begins: see Start.law; no root where it is 1."""
        return self.start.law(tokens, hidden, x, shown) if self.start is not None else (torch.zeros_like(x), None)

    def velocity(self, x: Tensor, t: Tensor, told: Tensor, span: tuple[Tensor, Tensor], shown: Tensor, mean: Tensor) -> Tensor:
        """x: (n, columns) points; t: (n, 1) times in [0, 1]; told: (n, width); shown, mean: (n, columns) -> (n, columns)."""
        low, wide = span
        rank = (low + wide * place(x))[:, :, None] * (math.pi * 2.0 ** torch.arange(WAVES, device=x.device))
        lives = (wide > 0).to(x.dtype)
        points = torch.stack([x, mean, shown.to(x.dtype)], dim=2)
        seen = torch.cat([points, torch.sin(rank), torch.cos(rank)], dim=2)
        angle = t * (math.pi * 2.0 ** (torch.arange(TIMES, device=x.device) / 2 - 1))
        told = told + self.time(torch.cat([torch.sin(angle), torch.cos(angle)], dim=1))
        hidden = self.enter((seen * lives[:, :, None]).flatten(1)) + told
        for block in self.blocks:
            hidden = block(hidden, told)
        still = (2 * t - 1) / (t.square() + (1 - t).square())
        out: Tensor = still * (x - mean) + self.leave(F.silu(hidden))
        return out

    @torch.no_grad()
    def draw(self, tokens: Tensor, known: Tensor, steps: int, guidance: float, chance: torch.Generator) -> Tensor:
        """Places along their bins: (n, fields) tokens -> (n, columns) in (0, 1).

        known: (n, columns) places that are given, NaN where none is. steps: evaluations of the network, two for each step of
        Heun's method. guidance: how much of what the class says is taken; 1 as it was learned."""
        span, shown = self.spans(tokens), ~known.isnan()
        still = torch.where(shown, score(known.nan_to_num(0.5)), 0.0)
        mean, root = self.law(tokens, None, still, shown)
        x = _drawn(mean, root, torch.randn(known.shape, generator=chance, device=known.device))
        x = torch.where(shown, still, x)
        told, every = self.tell(tokens), torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        guided = guidance != 1 and self.classed is not None
        rest = (self.tell(tokens, every), self.law(tokens, every, still, shown)[0]) if guided else None

        def velocity(x: Tensor, at: float) -> Tensor:
            t = torch.full((len(x), 1), at, device=x.device)
            v = self.velocity(x, t, told, span, shown, mean)
            if rest is not None:
                free = self.velocity(x, t, rest[0], span, shown, rest[1])
                v = free + guidance * (v - free)
            return torch.where(shown, 0.0, v)

        count = max(steps // 2, 1)
        for k in range(count):
            first = velocity(x, k / count)
            x = x + 0.5 / count * (first + velocity(x + first / count, (k + 1) / count))
        return place(x)


def _drawn(mean: Tensor, root: Tensor | None, chance: Tensor) -> Tensor:
    """Normal numbers (n, columns) of these means and roots of precisions, from independent ones."""
    if root is None:
        return chance
    out: Tensor = mean + torch.linalg.solve_triangular(root.transpose(1, 2), chance[:, :, None], upper=True)[:, :, 0]
    return out


def score(places: Tensor) -> Tensor:
    """The normal scores of places in [0, 1]."""
    out: Tensor = torch.special.ndtri(places.clamp(EDGE, 1 - EDGE))
    return out


def place(scores: Tensor) -> Tensor:
    """The places in (0, 1) of normal scores."""
    return 0.5 * (1 + torch.erf(scores / ROOT))
