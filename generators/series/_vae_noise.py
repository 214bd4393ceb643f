"""What do readings do beside what the decoder expects of them? Noise with a memory, of each class and channel.

What the decoder says is smooth. What it leaves, in units of the noise that it names, is taken for an autoregression whose
innovations have the quantiles that were found, and channels move together as they did. Drawn noise then has the spectrum of
what is left, and its skewness: a bearing that only ever shakes more, a pressure that only ever drops.

Sources: Yule 1927, Walker 1931 (the equations of an autoregression); Nelsen 2006 (the Gaussian copula across channels)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Readings that the noise remembers, at most.
MEMORY = 8
#: Windows of all classes that weigh as much as those of one class.
SHRINK = 4.0
#: Quantiles of the innovations, and values of a class from which it has its own.
QUANTILES, OWN = 63, 300
#: Readings before the first, so that the noise is under way.
AHEAD = 32
#: What is left further out than so many of its usual sizes does not count for the memory.
FAR = 4.0


class Noise(nn.Module):
    """filters (k, c, MEMORY); quantiles (k, c, QUANTILES) of the innovations; spreads (k, c) of them; roots (k, c, c) of the
    correlation of their normal scores."""

    filters: Tensor
    quantiles: Tensor
    spreads: Tensor
    roots: Tensor
    at: Tensor

    def __init__(self, classes: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("at", (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES, persistent=False)
        normal = torch.special.ndtri(self.at)
        self.register_buffer("filters", torch.zeros(classes, channels, MEMORY, dtype=torch.float64))
        self.register_buffer("quantiles", normal.repeat(classes, channels, 1))
        self.register_buffer("spreads", torch.ones(classes, channels, dtype=torch.float64))
        self.register_buffer("roots", torch.eye(channels, dtype=torch.float64).repeat(classes, 1, 1))

    def learn(self, left: Tensor, known: Tensor, labels: Tensor) -> None:
        """left: (n, c, t) what the decoder leaves in units of its noise; known: (n, c, t) bool; labels: (n,)."""
        if not left.shape[1]:
            return
        e = torch.where(known, left.double(), 0.0)
        usual = (e.abs().sum(dim=(0, 2)) / known.sum(dim=(0, 2)).clamp(min=1)).clamp(min=1e-6)[:, None]
        tame = e.clamp(-FAR * usual, FAR * usual)
        products, counts = _lagged(tame, known)
        for k in range(len(self.filters)):
            own = labels == k
            weight = SHRINK / max(len(labels), 1)
            total, many = (
                products[own].sum(dim=0) + weight * products.sum(dim=0),
                counts[own].sum(dim=0) + weight * counts.sum(dim=0),
            )
            self.filters[k] = _yule_walker(total / many.clamp(min=1.0))
        fresh = self.innovations(e, labels)
        for k in range(len(self.filters)):
            own = labels == k
            self._settle(k, fresh[own], known[own], fresh, known)

    def _settle(self, k: int, own: Tensor, there: Tensor, every: Tensor, known: Tensor) -> None:
        """Quantiles, spreads and correlations of a class."""
        scores = torch.zeros_like(own)
        for c in range(own.shape[1]):
            values = own[:, c][there[:, c]]
            if len(values) < OWN:
                values = every[:, c][known[:, c]]
            values = values if len(values) else torch.zeros(1, dtype=torch.float64)
            # Of millions of values some thousands say as much.
            values = values[:: -(-len(values) // 20_000)]
            self.quantiles[k, c] = torch.quantile(values, self.at)
            self.spreads[k, c] = values.square().mean().sqrt().clamp(min=1e-3)
            scores[:, c] = _scores(own[:, c].contiguous(), self.quantiles[k, c], self.at)
        both = there.double()
        many = torch.einsum("nct,ndt->cd", both, both)
        found = torch.einsum("nct,ndt->cd", scores * both, scores * both) / many.clamp(min=1)
        sizes = found.diagonal().clamp(min=1e-6).sqrt()
        found = found / sizes / sizes[:, None]
        share = many / (many + OWN)
        found = share * found * (1 - torch.eye(len(found), dtype=torch.float64)) + torch.eye(len(found), dtype=torch.float64)
        values_, vectors = torch.linalg.eigh(found)
        self.roots[k] = vectors * values_.clamp(min=1e-6).sqrt()

    def innovations(self, left: Tensor, labels: Tensor) -> Tensor:
        """What is new in each reading beside what the noise remembers: (n, c, t) -> the same."""
        e = left.double()
        out = e.clone()
        for lag in range(1, min(MEMORY, e.shape[2] - 1) + 1):
            out[:, :, lag:] -= self.filters[labels][:, :, lag - 1, None] * e[:, :, :-lag]
        return out

    def drawn(self, labels: Tensor, length: int, chance: torch.Generator) -> Tensor:
        """Noise in units of the decoder's, (n, c, length) float32."""
        n, channels = len(labels), self.filters.shape[1]
        white = torch.randn(n, channels, length + AHEAD, generator=chance, dtype=torch.float64)
        white = torch.einsum("ncd,ndt->nct", self.roots[labels], white)
        fresh = self._values(torch.special.ndtr(white), labels)
        filters = self.filters[labels].flip(2)
        out = torch.zeros(n, channels, MEMORY + length + AHEAD, dtype=torch.float64)
        for t in range(length + AHEAD):
            out[:, :, MEMORY + t] = fresh[:, :, t] + (filters * out[:, :, t : t + MEMORY]).sum(dim=2)
        return out[:, :, -length:].float() if length else out[:, :, :0].float()

    def _values(self, share: Tensor, labels: Tensor) -> Tensor:
        """Innovations at these shares of their distribution, straight between its quantiles: (n, c, t) -> the same."""
        place = (share * QUANTILES - 0.5).clamp(0, QUANTILES - 1)
        low = place.floor().long().clamp(max=QUANTILES - 2)
        table = self.quantiles[labels]
        a, b = table.gather(2, low), table.gather(2, low + 1)
        return a + (place - low) * (b - a)


def _lagged(e: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of products of readings that lie 0 to MEMORY apart, and of how many: two of (n, c, MEMORY + 1)."""
    there, length = known.double(), e.shape[2]
    products, counts = [], []
    for lag in range(MEMORY + 1):
        if lag >= length:
            products.append(torch.zeros(e.shape[:2], dtype=torch.float64))
            counts.append(torch.zeros(e.shape[:2], dtype=torch.float64))
            continue
        products.append((e[:, :, lag:] * e[:, :, : length - lag]).sum(dim=2))
        counts.append((there[:, :, lag:] * there[:, :, : length - lag]).sum(dim=2))
    return torch.stack(products, dim=2), torch.stack(counts, dim=2)


def _yule_walker(covariances: Tensor) -> Tensor:
    """(c, MEMORY + 1) -> the coefficients that foretell a reading from those before it, (c, MEMORY); a stable filter."""
    # Tapered, so that the matrix is that of a process; with a little white noise it can be inverted.
    taper = 1 - torch.arange(MEMORY + 1, dtype=torch.float64) / (4 * MEMORY)
    r = covariances * taper
    apart = (torch.arange(MEMORY)[:, None] - torch.arange(MEMORY)[None]).abs()
    matrix = r[:, apart] + (1e-3 * r[:, :1, None] + 1e-9) * torch.eye(MEMORY, dtype=torch.float64)
    out: Tensor = torch.linalg.solve(matrix, r[:, 1:])
    return out


def _scores(values: Tensor, quantiles: Tensor, at: Tensor) -> Tensor:
    """Normal scores of values under a table of quantiles."""
    place = torch.searchsorted(quantiles, values).clamp(1, QUANTILES - 1)
    low, high = quantiles[place - 1], quantiles[place]
    part = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    out: Tensor = torch.special.ndtri(at[place - 1] + part * (at[place] - at[place - 1]))
    return out
