"""How are rows drawn from a trained autoencoder, given values of any columns, and how unlikely is a row to it?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from generators.tabular._density_train import CHUNK
from generators.tabular._token_rows import shared_out
from generators.tabular._vae_net import Net

Array = np.ndarray
#: Points that a condition on columns other than the class chooses among, for each row and at least.
POOL, POOL_LEAST = 4, 8192
#: Points of each row that its likelihood is averaged over.
POINTS = 16
#: Draws by which biases are tuned, rows of each, how much of a difference is taken back at once, and the most that is (nats).
ROUNDS, ROWS, PART, MOST = 4, 20_000, 0.7, 0.5
#: Rows of a token that a difference is weighed against: what few rows say is chance.
WEIGHT = 30.0


class Drawer:
    """Rows of local tokens, (n, fields) int64, and their classes, from a trained network on the CPU.

    shares: (classes,) of train."""

    def __init__(self, net: Net, shares: Array) -> None:
        self.net, self.shares, self.starts = net, shares, net.shape.starts
        with torch.no_grad():
            self.heads = net.heads()

    @torch.no_grad()
    def draw(self, n: int, label: int | None, given: Mapping[int, int], seed: int) -> tuple[Array, Array]:
        """`n` rows that hold `given` (field: token), of one class or of all by their shares: tokens and classes.

        Given tokens choose among points: of POOL points for each row, those stay that make these tokens likely, by
        sampling and importance resampling (Rubin 1987). Given the point columns are independent, so the others follow."""
        rng, chance = np.random.default_rng([seed, 1]), torch.Generator().manual_seed(seed)
        count = max(POOL * n, POOL_LEAST) if given else n
        labels = np.full(count, label) if label is not None else shared_out(count, self.shares, rng)
        z, of = self._points(torch.from_numpy(labels), chance), torch.from_numpy(labels)
        if given:
            kept = torch.from_numpy(_resampled(self._weights(z, of, given), n, rng))
            z, of = z[kept], of[kept]
        rows = np.empty((n, len(self.starts) - 1), dtype=np.int64)
        for part in _chunks(n):
            rows[part] = self._rows(z[part], of[part], given, chance)
        return rows, of.numpy()

    def _points(self, label: Tensor, chance: torch.Generator) -> Tensor:
        normal = torch.randn(len(label), self.net.latent, generator=chance)
        for part in _chunks(len(label)):
            normal[part] = self.net.prior.bend(normal[part], label[part])
        return normal

    def _rows(self, z: Tensor, label: Tensor, given: Mapping[int, int], chance: torch.Generator) -> Array:
        hidden = self.net.hidden(z, label)
        out = torch.empty(len(z), len(self.starts) - 1, dtype=torch.long)
        for field in range(out.shape[1]):
            if field in given:
                out[:, field] = given[field]
                continue
            outer = out[:, self.net.outer[field]] if field in self.net.outer else None
            out[:, field] = _pick(self.net.logits(field, hidden, label, self.heads, outer), chance)
        return out.numpy()

    def _weights(self, z: Tensor, label: Tensor, given: Mapping[int, int]) -> Array:
        """The log of how likely each point makes the given tokens: (n,)."""
        total = np.zeros(len(z))
        for part in _chunks(len(z)):
            hidden = self.net.hidden(z[part], label[part])
            for field, token in given.items():
                refined = self.net.outer.get(field)
                outer = None if refined is None else torch.full((len(hidden),), given.get(refined, 0))
                said = torch.log_softmax(self.net.logits(field, hidden, label[part], self.heads, outer).double(), dim=1)
                total[part] += said[:, token].numpy()
        return total

    @torch.no_grad()
    def nats(self, rows: Array, label: Array) -> Array:
        """A bound on the log of p(row | class): (n,) float64, the mean over POINTS points, the same for every row.

        rows: local tokens, below 0 for what is unknown. Source: Burda et al. 2016 (arXiv 1509.00519), section 3."""
        noise = torch.randn(POINTS, self.net.latent, generator=torch.Generator().manual_seed(POINTS))
        places = torch.from_numpy(np.where(rows < 0, -1, rows + np.array(self.starts[:-1])))
        of, out = torch.from_numpy(np.maximum(label, 0)), np.empty(len(rows))
        for part in _chunks(len(rows)):
            each = []
            for point in noise:
                z, divergence = self.net.drawn(places[part], of[part], point)
                each.append((self.net.told(z, places[part], of[part]) - divergence).double())
            out[part] = torch.logsumexp(torch.stack(each), dim=0).numpy() - math.log(POINTS)
        return out


def _chunks(n: int) -> list[slice]:
    """Rows that go through the network together."""
    return [slice(first, first + CHUNK) for first in range(0, n, CHUNK)]


def _pick(logits: Tensor, chance: torch.Generator) -> Tensor:
    """A token for each row: (rows,) int64."""
    upto = torch.cumsum(torch.exp(logits - logits.amax(dim=1, keepdim=True)), dim=1)
    at = torch.rand(len(logits), 1, generator=chance) * upto[:, -1:]
    return (upto[:, :-1] <= at).sum(dim=1)


def _resampled(weights: Array, n: int, rng: np.random.Generator) -> Array:
    """Places of `n` points, each as often as its log-weight says, in random order: systematic resampling."""
    upto = np.cumsum(np.exp(weights - weights.max()))
    kept = np.searchsorted(upto, (np.arange(n) + rng.random()) / max(n, 1) * upto[-1], side="right")
    return np.asarray(rng.permutation(kept.clip(max=len(weights) - 1)))


@torch.no_grad()
def tune(net: Net, rows: Array, label: Array, seed: int) -> None:
    """Shift the biases until drawn rows hold each token as often, class by class, as `rows` do: (n, fields) local tokens.

    Fields that refine others are left as they are."""
    heads, starts = net.heads(), net.shape.starts
    for k in range(net.shape.classes):
        own = rows[label == k]
        if not len(own):
            continue
        of = torch.full((min(ROWS, max(len(own), 2000)),), k)
        drawer = Drawer(net, np.ones(net.shape.classes))
        points = drawer._points(of, torch.Generator().manual_seed(seed + k))
        hidden = torch.cat([net.hidden(points[part], of[part]) for part in _chunks(len(of))])
        size = min(len(own), len(of))
        for field, (first, end) in enumerate(zip(starts, starts[1:], strict=False)):
            if field in net.outer:
                continue
            real = torch.from_numpy(np.bincount(own[:, field], minlength=end - first) / len(own)).float()
            raw = torch.nn.functional.linear(hidden, heads[first:end])
            for _ in range(ROUNDS):
                made = torch.softmax(raw + net.out_bias[k, first:end], dim=1).mean(dim=0)
                shift = torch.log((real * size + WEIGHT) / (made * size + WEIGHT)).clamp(-MOST, MOST) * PART
                net.out_bias[k, first:end] += shift
