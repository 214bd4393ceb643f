"""Who draws rows, and who tells them from real ones, where every real row's gradient must be seen by itself?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray
#: Least chance of a token that counts do not show.
LEAST = 1e-6
#: How large the correction of the noisy counts is at first, and the discriminator's weights.
SMALL = 0.3
QUIET = 0.1
#: Rounds in which biases are moved.
TUNED = 8


class Discriminator(nn.Module):
    """How real a row looks, by which tokens come together in it.

    A row's score is a weighted sum of squares of linear features, so of pairs of tokens; what single columns hold is known from
    noisy counts. Each class has weights of its own, which count as its rows do beside the largest's: of a class of few rows the
    noise says more than they do, so it stays near its counts. No term joins rows, and no layer has buffers.

    middle: (total,) shares of the tokens of all columns; shares: (classes,)."""

    def __init__(self, middle: Tensor, shares: Tensor, features: int) -> None:
        super().__init__()
        self.middle = middle
        self.voices = torch.diag(shares / shares.max())
        self.look = nn.Linear(len(middle), features, bias=False)
        self.weigh = nn.Linear(len(shares), features, bias=False)

    def start(self, seed: int) -> None:
        """Weights from the seed, all but silent."""
        generator = torch.Generator().manual_seed(seed % 2**63)
        with torch.no_grad():
            self.look.weight.copy_(torch.randn(self.look.weight.shape, generator=generator))
            self.weigh.weight.copy_(torch.randn(self.weigh.weight.shape, generator=generator))
            self.weigh.weight.mul_(QUIET * len(self.look.weight) ** -0.5)
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Features of length 1: how much they say is for their weights to tell, or both would chase each other."""
        self.look.weight.div_(self.look.weight.norm(dim=1, keepdim=True).clamp(min=1e-12))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """(rows, total) tokens, one hot for each column, and (rows,) classes -> (rows,) scores."""
        out: Tensor = (self.weigh(self.voices[label]) * self.look(x - self.middle).square()).sum(dim=1)
        return out

    def expected(self, chances: Sequence[Tensor], label: Tensor) -> Tensor:
        """(rows, size) chances of each column's tokens -> (rows,) means of the scores over rows drawn from them.

        Exact, as columns are drawn independently: the square of the mean, and the variance of each column's part. The weights
        are taken as they stand."""
        look, weights = self.look.weight.detach(), self.voices[label] @ self.weigh.weight.detach().T
        whole = torch.cat(list(chances), dim=1)
        squares = ((whole - self.middle) @ look.T).square() + whole @ look.square().T
        for part, own in zip(chances, torch.split(look, [c.shape[1] for c in chances], dim=1), strict=True):
            squares = squares - (part @ own.T).square()
        return (weights * squares).sum(dim=1)


class Generator(nn.Module):
    """Chances of every column's tokens, given a class and chance. It begins near what noisy counts of the class say.

    sizes: tokens of each column beside the class. counts: (classes, total) shares by noisy counts."""

    def __init__(self, sizes: Sequence[int], counts: Tensor, latent: int, width: int) -> None:
        super().__init__()
        self.sizes, self.latent, classes = list(sizes), latent, len(counts)
        self.known: Tensor
        self.register_buffer("known", torch.log(counts.clamp(min=LEAST)))
        self.enter = nn.Linear(latent + classes, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)) for _ in range(2)
        )
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, sum(sizes))
        self.bias = nn.Parameter(torch.zeros_like(counts))
        with torch.no_grad():
            self.leave.weight.mul_(SMALL)
            self.leave.bias.zero_()

    def forward(self, label: Tensor, noise: Tensor) -> Tensor:
        """(rows,) classes and (rows, latent) normal numbers -> (rows, total) logits."""
        h = self.enter(torch.cat([noise, nn.functional.one_hot(label, len(self.bias)).to(noise)], dim=1))
        for block in self.blocks:
            h = h + block(h)
        out: Tensor = self.known[label] + self.bias[label] + self.leave(self.norm(h))
        return out

    def logits(self, label: Tensor, source: torch.Generator) -> Tensor:
        """(rows, total) logits of rows of these classes, drawn anew."""
        out: Tensor = self(label, torch.randn((len(label), self.latent), generator=source))
        return out

    def chances(self, logits: Tensor) -> list[Tensor]:
        """(rows, size) of each column."""
        return [torch.softmax(part, dim=1) for part in torch.split(logits, self.sizes, dim=1)]

    @torch.no_grad()
    def draw(self, label: Tensor, source: torch.Generator) -> Tensor:
        """(rows, columns) tokens of rows of these classes."""
        parts = self.chances(self.logits(label, source))
        out = [torch.multinomial(part, 1, generator=source) for part in parts]
        return torch.cat(out, dim=1) if out else torch.zeros((len(label), 0), dtype=torch.long)

    @torch.no_grad()
    def tune(self, counts: Tensor, rows: int, source: torch.Generator) -> None:
        """Move biases until drawn rows of each class hold the tokens that counts say are there: post-processing of both.

        counts: (classes, total); what cannot be told from noise there is 0, and left as it was learned."""
        for k, shares in enumerate(counts):
            logits, at = self.logits(torch.full((rows,), k), source), 0
            for part, target in zip(torch.split(logits, self.sizes, dim=1), torch.split(shares, self.sizes), strict=True):
                self.bias[k, at : at + len(target)] += moved(part, target)
                at += len(target)


def moved(logits: Tensor, target: Tensor) -> Tensor:
    """(size,) to add to (rows, size) logits so that the mean chances are (size,) target, where that is above 0."""
    clear, whole = target > 0, torch.zeros_like(target)
    for _ in range(TUNED):
        mean = torch.softmax(logits + whole, dim=1).mean(dim=0)
        # What is not clear keeps the part that it has.
        wanted = target * (1 - mean[~clear].sum())
        whole += torch.where(clear, torch.log(wanted.clamp(min=1e-9) / mean.clamp(min=1e-9)), torch.zeros_like(mean))
    return whole
