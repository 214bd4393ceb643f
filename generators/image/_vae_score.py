"""How unusual is a picture beside the normal ones?

A defect is small and a normal picture varies much: in light, in layout. So each pixel is first measured by the spread of its
own surroundings. Then three things are compared with the normal pictures: small patches, the same patches of what the
autoencoder could not read back, and the strongest answers of a fixed random network to the whole picture. Each is put on
the scale of normal pictures that were not compared with themselves, and the three are added.

Sources of the ideas: Roth et al. 2022 (PatchCore: nearest patches of normal pictures, the worst of a picture counts);
An and Cho 2015 (what an autoencoder cannot read back)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.images import chunks
from generators.image._pictures import to_unit

Array = np.ndarray
#: Pixels a side of the surroundings, of a patch, and from one patch to the next.
AROUND, PATCH, STRIDE = 9, 7, 2
#: Patches that are kept, numbers each is put into at most, and the share of its variance that these hold.
BANK, NUMBERS, HELD = 5000, 48, 0.95
#: Share of a picture's patches that count: the most unusual ones.
WORST = 0.004
#: Normal pictures whose features are kept, at most.
ROWS = 512
#: Spread of the surroundings, of a range of 2, below which a pixel is not magnified further.
FLOOR = 0.03
#: Size above which pictures are halved before they are compared.
LARGEST = 128
#: Channels of the random network's first layer, and the strongest answers that count.
WIDTH, STRONGEST = 32, 4
AT_ONCE = 32


class Scorer(nn.Module):
    """What is known of normal pictures: patches, patches of what is not read back, features, and the scale of each part.

    It holds small patches of normal pictures, but no picture."""

    scales: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.patches, self.lacking = Patches(channels), Patches(channels)
        self.answers = Answers(channels)
        self.register_buffer("scales", torch.tensor([[0.0, 1.0]] * 3))

    def learn(self, pixels: Array, lacking: Tensor, *, seed: int) -> None:
        """From normal pictures (n, s, s, c) uint8 and what is not read back of them (n, c, s, s)."""
        views = self._views(pixels, lacking)
        halves = torch.arange(len(pixels)) % 2 == 0
        if len(pixels) >= 4:  # each half on the scale of the other
            found = []
            for own in (halves, ~halves):
                self._fit([view[own] for view in views], seed)
                found.append(self._parts([view[~own] for view in views]))
            both = torch.cat(found, dim=1)
            self.scales.copy_(torch.stack([both.mean(dim=1), both.std(dim=1).clamp(min=1e-3)], dim=1))
        self._fit(views, seed)

    def score(self, pixels: Array, lacking: Tensor) -> Array:
        """(n,) float64, about 0 for normal pictures; higher is more unusual."""
        if not len(pixels):
            return np.zeros(0)
        parts = self._parts(self._views(pixels, lacking))
        return np.asarray(((parts - self.scales[:, :1]) / self.scales[:, 1:]).mean(dim=0).double().numpy())

    def _views(self, pixels: Array, lacking: Tensor) -> list[Tensor]:
        return [evened(smaller(to_unit(torch.from_numpy(pixels)))), evened(smaller(lacking))]

    @torch.no_grad()
    def _fit(self, views: list[Tensor], seed: int) -> None:
        self.patches.learn(views[0], seed)
        self.lacking.learn(views[1], seed + 1)
        self.answers.learn(views[0], seed + 2)

    @torch.no_grad()
    def _parts(self, views: list[Tensor]) -> Tensor:
        """Logarithm of each part: (3, n)."""
        found = [self.patches.far(views[0]), self.lacking.far(views[1]), self.answers.far(views[0])]
        return torch.stack(found).clamp(min=1e-6).log()


class Patches(nn.Module):
    """Patches of normal pictures, each in a few uncorrelated numbers: (BANK, NUMBERS)."""

    bank: Tensor
    centre: Tensor
    onto: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        values = channels * PATCH**2
        self.register_buffer("bank", torch.zeros(BANK, NUMBERS))
        self.register_buffer("centre", torch.zeros(values))
        self.register_buffer("onto", torch.zeros(values, NUMBERS))

    def learn(self, views: Tensor, seed: int) -> None:
        """From views (n, c, s, s)."""
        stream = torch.Generator().manual_seed(seed % 2**63)
        # More than are kept, for the covariance; never all of them, which many pictures would not leave the memory for.
        parts = [(cut(views[a:b]), b - a) for a, b in chunks(len(views), AT_ONCE)]
        rows = torch.cat([_some(part, min(len(part), 4 * BANK * n // len(views) + 1), stream) for part, n in parts])
        self.centre.copy_(rows.mean(dim=0))
        off = (rows - self.centre).double()
        values, vectors = torch.linalg.eigh(off.T @ off / len(off))
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
        many = int((values.cumsum(0) < HELD * values.sum()).sum()) + 1
        many = min(many, NUMBERS, len(values))
        self.onto.zero_()
        self.onto[:, :many] = (vectors[:, :many] / values[:many].clamp(min=1e-9).sqrt()).float()
        self.bank.copy_((_some(rows, BANK, stream) - self.centre) @ self.onto)

    def far(self, views: Tensor) -> Tensor:
        """How far the worst patches of each view lie from the nearest normal one: (n,)."""
        return torch.cat(list(_by_parts(self._far, views)))

    def _far(self, views: Tensor) -> Tensor:
        rows = (cut(views) - self.centre) @ self.onto
        # Compared in pieces: all distances of a large picture's patches would fill the memory.
        pieces = [torch.cdist(rows[a:b], self.bank).amin(dim=1) for a, b in chunks(len(rows), 8192)]
        nearest = torch.cat(pieces).view(len(views), -1)
        return nearest.topk(max(1, round(WORST * nearest.shape[1])), dim=1).values.mean(dim=1)


class Answers(nn.Module):
    """The strongest answers of a fixed random network, for normal pictures: (ROWS, features)."""

    known: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        stream = torch.Generator().manual_seed(0)
        self.filters = [_filters(WIDTH, channels, 5, stream), _filters(2 * WIDTH, WIDTH, 3, stream),
                        _filters(3 * WIDTH, 2 * WIDTH, 3, stream)]  # fmt: skip
        many = 6 * WIDTH
        self.register_buffer("known", torch.zeros(ROWS, many))
        self.register_buffer("centre", torch.zeros(many))
        self.register_buffer("spread", torch.ones(many))

    def learn(self, views: Tensor, seed: int) -> None:
        """From views (n, c, s, s)."""
        rows = torch.cat(list(_by_parts(self._answers, views)))
        self.centre.copy_(rows.mean(dim=0))
        self.spread.copy_(rows.std(dim=0, unbiased=False).clamp(min=1e-3))
        kept = _some((rows - self.centre) / self.spread, ROWS, torch.Generator().manual_seed(seed % 2**63))
        self.known.copy_(kept)

    def far(self, views: Tensor) -> Tensor:
        """How far each view's answers lie from the nearest normal ones: (n,)."""
        rows = torch.cat(list(_by_parts(self._answers, views)))
        return torch.cdist((rows - self.centre) / self.spread, self.known).amin(dim=1)

    def _answers(self, views: Tensor) -> Tensor:
        x, out = views, []
        for i, filters in enumerate(self.filters):
            x = F.relu(F.conv2d(_framed(x, filters.shape[-1] // 2), filters, stride=1 if i == 0 else 2))
            flat = x.flatten(2)
            out.append(flat.topk(min(STRONGEST, flat.shape[2]), dim=2).values.mean(dim=2))
        return torch.cat(out, dim=1)


def evened(pictures: Tensor) -> Tensor:
    """Each pixel less the mean of its surroundings, by their spread: (n, c, s, s)."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(_framed(x, AROUND // 2), AROUND, 1)

    off = pictures - mean(pictures)
    return off / (mean(off.square()).sqrt() + FLOOR)


def smaller(pictures: Tensor) -> Tensor:
    """Halved until they are of at most LARGEST pixels a side."""
    times = max(0, math.ceil(math.log2(pictures.shape[-1] / LARGEST)))
    return F.avg_pool2d(pictures, 1 << times, ceil_mode=True) if times else pictures


def cut(views: Tensor) -> Tensor:
    """Patches of views (n, c, s, s), one after the other: (n * p, c * PATCH^2)."""
    columns = F.unfold(_framed(views, PATCH // 2), PATCH, stride=STRIDE)
    return columns.transpose(1, 2).flatten(0, 1)


def _framed(pictures: Tensor, by: int) -> Tensor:
    """Mirrored at the border; repeated where the picture is too small for that."""
    return F.pad(pictures, [by] * 4, mode="reflect" if pictures.shape[-1] > by else "replicate")


def _filters(out: int, into: int, side: int, stream: torch.Generator) -> Tensor:
    drawn = torch.randn(out, into, side, side, generator=stream)
    lengths: Tensor = drawn.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    return drawn / lengths


def _some(rows: Tensor, many: int, stream: torch.Generator) -> Tensor:
    """`many` of the rows, each at most once, or as often as it takes where there are fewer."""
    order = torch.randperm(len(rows), generator=stream)
    return rows[order.repeat(-(-many // len(rows)))[:many]]


def _by_parts(work: Callable[[Tensor], Tensor], views: Tensor) -> list[Tensor]:
    return [work(views[a:b]) for a, b in chunks(len(views), AT_ONCE)]
