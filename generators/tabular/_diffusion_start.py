"""Where in their bins do numbers lie before anything is learned? Where a Gaussian copula of the whole row puts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

Array = np.ndarray
#: Rows of all classes that the mean of a class begins with.
DRAWN = 5.0
#: Correlations are made smaller by one of these shares, by which rows that were left out are likeliest; least variance left.
SHARES, LEAST = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), 1e-3
#: Rows that shares are tried on, at most; fewer, but not below the last, where they hold more pairs of numbers in all.
TRIED, ROOM, FEWEST = 3_000, 4_000_000, 600
#: Parts that these rows are divided into.
FOLDS = 3
#: Ranks are kept so far from 0 and 1; points that a bin is measured at.
EDGE, POINTS = 1e-5, 64
#: Tables with more columns of numbers than this go without: each row has a system of equations of its own.
MOST = 100


class Start(nn.Module):
    """The normal distribution that places within bins begin with, given the tokens of the row.

    Normal scores z of numbers among all rows are taken as jointly normal within a class. Along a bin z is c + w x, nearly,
    where x is the normal score of the place within the bin, normal with variance 1 when nothing else is known. So given the
    tokens x is normal, too, with precision I + W (S^-1 - D^-1) W, where S are the covariances of z within classes and D its
    variances among all rows: positive definite, as no bin is as wide as its column. An exact number has w = 0; null is a number
    that could be any. Numbers that are shown are conditions as well.

    Source: the Gaussian copula as a model of mixed tables, as in Patki et al. 2016 (The Synthetic Data Vault), section III;
    here rows are conditioned on their bins, with z straight along each.

    begin: where each field's tokens begin. numbers: of each field of numbers, its tokens from low to high, without null.
    fields: those that have places. classed: the field of the class, None where there is none."""

    middle: Tensor
    slope: Tensor
    means: Tensor
    pull: Tensor
    even: Tensor
    first: Tensor

    def __init__(self, begin: Sequence[int], numbers: Mapping[int, Array], fields: Sequence[int], classed: int | None) -> None:
        super().__init__()
        count = len(numbers)
        classes = 0 if classed is None else begin[classed + 1] - begin[classed]
        self.order = list(numbers.values())
        self.numbers, self.classed = list(numbers), classed
        self.sizes = [begin[field + 1] - begin[field] for field in numbers]
        self.moving = [self.numbers.index(field) for field in fields]
        self.register_buffer("first", torch.tensor([begin[field] for field in numbers]), persistent=False)
        # Of each token; of each class and of all rows; S^-1 within classes and of all rows; D^-1.
        self.register_buffer("middle", torch.zeros(begin[-1]))
        self.register_buffer("slope", torch.zeros(begin[-1]))
        self.register_buffer("means", torch.zeros(classes + 1, count))
        self.register_buffer("pull", torch.eye(count).repeat(2, 1, 1))
        self.register_buffer("even", torch.ones(count))

    def begin(self, tokens: Tensor, scores: Tensor, moves: Array) -> None:
        """Learn from rows: (n, fields) tokens, (n, columns) normal scores of places within bins.

        moves: (columns, most tokens) which of them are more than one number."""
        held, x = tokens.cpu().numpy(), scores.cpu().double().numpy()
        z = np.full((len(held), len(self.numbers)), np.nan)
        for k, field in enumerate(self.numbers):
            j = self.moving.index(k) if k in self.moving else None
            z[:, k] = self._measure(k, held[:, field], None if j is None else (x[:, j], moves[j]))
        self._vary(z)
        label = held[:, self.classed] if self.classed is not None else None
        at = held[:, self.numbers][:, self.moving]
        live = torch.from_numpy(np.take_along_axis(moves.T, at, axis=0)).to(scores.device)
        gone = torch.from_numpy(np.isnan(z[:, self.moving])).to(scores.device)
        self._choose(z, label, tokens, torch.where(live, scores, 0.0), gone)

    def law(self, tokens: Tensor, hidden: Tensor | None, x: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Means (n, columns), and the lower root of the precisions (n, columns, columns), of the places' normal scores.

        hidden: (n,) whose class is not told, none if None. x: (n, columns), what is shown; shown: which of them are."""
        at = tokens[:, self.numbers] + self.first
        c, w = self.middle[at], self.slope[at][:, self.moving]
        none = torch.full_like(tokens[:, 0], len(self.means) - 1)
        label = none if self.classed is None else tokens[:, self.classed]
        label = label if hidden is None else torch.where(hidden, none, label)
        free, away = (label == none)[:, None], c - self.means[label]
        ties = self.pull[:, self.moving][:, :, self.moving] - torch.diag(self.even[self.moving])
        fixed = w * torch.where(shown, x, 0.0)
        own, every = ((away @ pull)[:, self.moving] + fixed @ tie for pull, tie in zip(self.pull, ties, strict=True))
        force = w * ((c * self.even)[:, self.moving] - torch.where(free, every, own)) * ~shown
        w = w * ~shown
        precise = w[:, :, None] * w[:, None, :]
        precise *= torch.where(free[:, :, None], ties[1], ties[0]) if bool(free.any()) else ties[0]
        torch.diagonal(precise, dim1=1, dim2=2).add_(1.0)
        root = torch.linalg.cholesky(precise)
        return torch.cholesky_solve(force[:, :, None], root)[:, :, 0], root

    def _measure(self, k: int, token: Array, inner: tuple[Array, Array] | None) -> Array:
        """Set what a number's tokens mean; the normal score of each row, NaN for null: (n,).

        inner: the normal scores within bins, (n,), and which tokens are bins, (tokens,); None for a number without."""
        order = self.order[k]
        counts = np.bincount(token, minlength=int(order.max()) + 1)
        upto = np.concatenate([[0.0], np.cumsum(counts[order])]) / max(counts[order].sum(), 1)
        low, share = np.zeros(len(counts)), np.zeros(len(counts))
        low[order], share[order] = upto[:-1], np.diff(upto)
        points, weights = np.polynomial.hermite_e.hermegauss(POINTS)
        bins = np.zeros(len(counts), dtype=bool) if inner is None else inner[1][: len(counts)]
        along = np.where(bins[:, None], norm.cdf(points), 0.5)
        along = norm.ppf((low[:, None] + share[:, None] * along).clip(EDGE, 1 - EDGE))
        weights = weights / weights.sum()
        at = int(self.first[k]) + torch.from_numpy(order).to(self.middle.device)
        for name, value in (("middle", along @ weights), ("slope", along @ (weights * points))):
            held = getattr(self, name)
            held[at] = torch.from_numpy(value[order]).to(held)
        within = np.where(bins[token], norm.cdf(inner[0]), 0.5) if inner is not None else 0.5
        z = norm.ppf((low[token] + share[token] * within).clip(EDGE, 1 - EDGE))
        return np.where(np.isin(token, order), z, np.nan)

    def _vary(self, z: Array) -> None:
        """Set variances of scores among all rows; null could be any number: its x is that number's score."""
        vary = np.nan_to_num(np.square(z)).sum(axis=0) / np.maximum((~np.isnan(z)).sum(axis=0), 1)
        for k, order in enumerate(self.order):
            own = self.slope[int(self.first[k]) :][: self.sizes[k]]
            vary[k] = max(vary[k], float(own.max()) ** 2, LEAST)
            own[np.setdiff1d(np.arange(self.sizes[k]), order)] = float(np.sqrt(vary[k]))
        self.even.copy_(torch.from_numpy(1 / vary).to(self.even))

    def _choose(self, z: Array, label: Array | None, tokens: Tensor, x: Tensor, gone: Tensor) -> None:
        """Covariances as they make rows likeliest that were left out, or none where independent places do.

        z: (n, numbers), NaN for null; x: (n, columns), 0 where there is no place; gone: (n, columns) what is null."""
        most = min(len(z), TRIED, max(ROOM // x.shape[1] ** 2, FEWEST))
        tried = [np.arange(fold, most, FOLDS) for fold in range(FOLDS)]
        nats = np.zeros(len(SHARES))
        for own in tried:
            rest = np.delete(np.arange(len(z)), own)
            for k, share in enumerate(SHARES):
                self._put(z[rest], None if label is None else label[rest], share)
                nats[k] += float(self._nats(tokens[own], x[own], gone[own]).sum())
        every = np.concatenate(tried)
        alone = -0.5 * float((x[every].square() * ~gone[every]).sum())
        self._put(z, label, SHARES[int(np.argmax(nats))])
        if nats.max() <= alone:
            self.slope.zero_()

    def _put(self, z: Array, label: Array | None, share: float) -> None:
        """Means and covariances of scores, (n, numbers), NaN for null, these drawn towards none by `share`."""
        known = ~np.isnan(z)
        z = np.nan_to_num(z)
        means = np.zeros(self.means.shape)
        for k in range(len(means) - 1) if label is not None else ():
            own = label == k
            means[k] = z[own].sum(axis=0) / (known[own].sum(axis=0) + DRAWN)
        apart = (z - means[label]) * known if label is not None else z
        pairs = np.maximum(known.T.astype(float) @ known, 1.0)
        pull = np.stack([_inverse(part.T @ part / pairs, share) for part in (apart, z)])
        for name, value in (("means", means), ("pull", pull)):
            held = getattr(self, name)
            held.copy_(torch.from_numpy(value).to(held))

    def _nats(self, tokens: Tensor, x: Tensor, gone: Tensor) -> Tensor:
        """How likely places are given the tokens, but for a constant: (n,)."""
        mean, root = self.law(tokens, None, x, torch.zeros_like(gone))
        rest, other = self.law(tokens, None, x, ~gone) if bool(gone.any()) else (mean, torch.ones_like(root))
        off = torch.where(gone, rest, x) - mean
        # A null's place is taken out again by what it is given the others.
        sure = (torch.diagonal(root, dim1=1, dim2=2).log() - torch.diagonal(other, dim1=1, dim2=2).log()).sum(dim=1)
        return sure - 0.5 * (root.transpose(1, 2) @ off[:, :, None])[:, :, 0].square().sum(dim=1)


def _inverse(spread: Array, share: float) -> Array:
    """Of covariances, those of different numbers made smaller by `share` and no variance below LEAST."""
    values, vectors = np.linalg.eigh((1 - share) * spread + share * np.diag(np.diag(spread)))
    return np.asarray((vectors / np.maximum(values, LEAST)) @ vectors.T)
