"""How do two networks play against each other when only one may see real rows, each by itself and through noise?

The discriminator needs, at every move, the mean gradient of its scores over real rows and over drawn ones. Only the first is
private: each step pays for one noisy gradient, and a running mean of them stands for the real rows in several moves. The second
costs nothing, as drawn rows follow from what is private already; each of them is clipped as a real row is, so that rows as real
ones move nothing. Between two steps the discriminator moves and the generator answers, several times.

Sources: Bie, Kamath and Zhang 2023 (arXiv 2302.02936): the discriminator's share of the work decides, large batches;
Neunhoeffer, Wu and Dwork 2021 (arXiv 2007.11934): a mixture of the generators of many steps draws better rows than the last."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from generators.base import Progress
from generators.tabular._dp_gan_nets import LEAST, Discriminator, Generator
from generators.tabular._dp_noise import Noise
from generators.tabular._dp_sgd import Schedule, clipped_sum, noisy_gradient, private_optimizer, rates

Array = np.ndarray
#: Share of the running mean of noisy gradients that is kept each step.
KEPT = 0.95
#: Share of its weights of features that the discriminator forgets at each move, over the learning rate.
FORGOTTEN = 0.003
#: Drawn rows of a move.
DRAWN = 256
#: Learning rate and betas of the generator's Adam.
RATE, BETAS = 2e-3, (0.5, 0.9)
#: Generators of the second half of the steps that are kept, and from when on.
KEEP, FROM = 20, 0.5


@dataclass(frozen=True)
class Rules:
    """How the game goes. turns: moves of both between two private steps; stay: what leaving the noisy counts costs the
    generator, in scores of the discriminator for each nat."""

    turns: int
    stay: float


class Game:
    """The two networks, and what they have seen.

    tokens: (rows, columns) without the class; label: (rows,) classes; shares: (classes,) of the classes and counts: (classes,
    total) of tokens given the class, both from noisy counts."""

    def __init__(
        self,
        critic: Discriminator,
        maker: Generator,
        tokens: Tensor,
        label: Tensor,
        shares: Tensor,
        counts: Tensor,
        rules: Rules,
    ) -> None:
        self.critic, self.maker, self.rules = critic, maker, rules
        self.tokens, self.label, self.shares, self.counts = tokens, label, shares, counts
        self.starts = torch.tensor(np.cumsum([0, *maker.sizes[:-1]]))
        # What the generator answers is as good for a rare class as for a frequent one.
        self.even = (shares > 0).float() / (shares > 0).sum()

    def open(self, schedule: Schedule, source: Noise, seed: int) -> None:
        """Optimizers, and the seed of all that needs no secret."""
        self.source = torch.Generator().manual_seed(seed % 2**63)
        self.module, self.private = private_optimizer(self.critic, len(self.tokens), schedule, source, torch.optim.SGD)
        self.adam = torch.optim.Adam(self.maker.parameters(), lr=RATE, betas=BETAS)
        self.seen = [torch.zeros_like(p) for p in self.critic.parameters()]
        self.steps = 0

    def hot(self, tokens: Tensor) -> Tensor:
        """(rows, columns) tokens -> (rows, total), one hot for each column."""
        out = torch.zeros(len(tokens), sum(self.maker.sizes))
        out.scatter_(1, tokens + self.starts, 1.0)
        return out

    def unreal(self, tokens: Tensor, label: Tensor) -> Tensor:
        """What real rows shall have little of: minus the sum of their scores. Each term is of one row."""
        scores: Tensor = self.critic(self.hot(tokens), label)
        return -scores.sum()

    def look(self, chosen: Array, expected: float) -> None:
        """One private step: the noisy gradient of the real rows chosen goes into the running mean."""
        noisy_gradient(self.module, self.private, lambda at: self.unreal(self.tokens[at], self.label[at]), chosen, expected)
        self.steps += 1
        for mean, p in zip(self.seen, self.critic.parameters(), strict=True):
            assert p.grad is not None
            mean.mul_(KEPT).add_(p.grad, alpha=1 - KEPT)

    def move(self, rate: float) -> None:
        """The discriminator's move: towards what it remembers of real rows, away from rows drawn now."""
        label = torch.multinomial(self.shares, DRAWN, replacement=True, generator=self.source)
        tokens = self.maker.draw(label, self.source)
        clipped_sum(self.module, self.private, lambda at: self.unreal(tokens[at], label[at]), np.arange(DRAWN))
        for mean, p in zip(self.seen, self.critic.parameters(), strict=True):
            drawn: Any = p
            p.grad = mean / (1 - KEPT**self.steps) - drawn.summed_grad / DRAWN
            drawn.summed_grad = None
        weights: Any = self.critic.weigh.weight
        weights.grad += FORGOTTEN * weights.detach()
        _set(self.private.original_optimizer, rate)
        self.private.original_optimizer.step()
        self.critic.settle()

    def answer(self, rate: float) -> None:
        """The generator's move: higher scores, columns as the noisy counts say, and no further from them than it pays."""
        label = torch.multinomial(self.even, DRAWN, replacement=True, generator=self.source)
        chances = self.maker.chances(self.maker.logits(label, self.source))
        loss = self.astray(torch.cat(chances, dim=1), label) - self.critic.expected(chances, label).mean()
        _set(self.adam, rate)
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()

    def astray(self, chances: Tensor, label: Tensor) -> Tensor:
        """Nats by which drawn rows leave the noisy counts: each class as a whole, and (by `stay`) each row."""
        hot = one_hot(label, len(self.shares)).float()
        drawn = hot.sum(dim=0)[:, None]
        mean = hot.T @ chances / drawn.clamp(min=1)
        gap = self.counts * (torch.log(self.counts.clamp(min=LEAST)) - torch.log(mean.clamp(min=LEAST)))
        row = (chances * (torch.log(chances.clamp(min=1e-9)) - self.maker.known[label])).sum(dim=1).mean()
        nats: Tensor = (self.even[:, None] * (drawn > 0) * gap).sum() + self.rules.stay * row
        return nats


def play(game: Game, schedule: Schedule, source: Noise, seed: int, progress: Progress) -> list[Generator]:
    """All steps; the generators of some of the later ones, which are drawn from in turn."""
    game.open(schedule, source, seed)
    rows, kept = len(game.tokens), list(_kept(schedule.steps))
    out: list[Generator] = []
    for k, rate in enumerate(rates(schedule)):
        game.look(source.chosen(rows, schedule.rate), max(schedule.rate * rows, 1.0))
        for _ in range(game.rules.turns):
            game.move(rate)
            game.answer(RATE * rate / schedule.learning_rate)
        if k in kept:
            out.append(copy.deepcopy(game.maker).eval())
        # Nothing of real rows is told.
        progress.advance(k + 1, schedule.steps, "step")
    return out


def _kept(steps: int) -> Iterator[int]:
    """The steps whose generators are kept, the last one among them."""
    first = int(FROM * steps)
    every = max((steps - first) // KEEP, 1)
    yield from range(steps - 1, first - 1, -every)


def _set(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def shrunk(counts: Array, deviation: float, shares: Array, rows: int) -> Array:
    """Noisy counts of a column's tokens in each class, (classes, size), as chances of the tokens given the class.

    A class is told apart from the whole as far as its counts stand out of the noise: the mean of a normal posterior whose prior
    is the column's own shares, as wide as they are large. shares: (classes,) of all rows; what the whole does not show is 0."""
    from generators.tabular._dp_family import shares as shown

    whole = shown(counts.sum(axis=0), deviation * len(counts) ** 0.5)
    usual = whole * np.maximum(shares * rows, 1.0)[:, None]
    trust = usual**2 / np.maximum(usual**2 + deviation**2 + usual, 1e-12)
    found = np.where(whole > 0, np.maximum(trust * counts + (1 - trust) * usual, 0.0), 0.0)
    sums = found.sum(axis=1, keepdims=True)
    return np.asarray(np.where(sums > 0, found / np.maximum(sums, 1e-12), whole))


def mixture(makers: Sequence[Generator], label: Tensor, source: torch.Generator) -> Tensor:
    """(rows,) classes -> (rows, columns) tokens, each row by one of the generators."""
    which = torch.randint(len(makers), (len(label),), generator=source)
    out = torch.zeros((len(label), len(makers[0].sizes)), dtype=torch.long)
    for k, maker in enumerate(makers):
        own = torch.nonzero(which == k)[:, 0]
        out[own] = maker.draw(label[own], source)
    return out
