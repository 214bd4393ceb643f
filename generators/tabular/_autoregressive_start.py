"""What do numbers say of one another before anything is learned? What a normal distribution of their scores says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

Array = np.ndarray
#: Rows of all classes that the mean of a class begins with; least variance that is left, as bins have a width of their own.
DRAWN, LEAST = 5.0, 0.01
#: Least that is added to variances; with few rows for each number more is.
RIDGE = 0.01
#: Scores are kept within this quantile and its mirror image.
EDGE = 1e-3
#: Tables of more numbers than this go without: their orders are too dear to work out.
MOST = 200

Lines = tuple[Tensor, Tensor, Tensor]


class Start(nn.Module):
    """A Gaussian copula of the fields of numbers, as what logits begin with.

    Each token of a number has the normal score of its rank. Given the scores of the numbers before it, a number's score is
    normal with a mean and a variance that linear regression gives; a token's logit begins with how much likelier that makes it
    than its class does. One factor for each number, learned from 1, says how far this is believed. With few rows this is
    most of what there is to know, as with the linear model that the GAN starts from (docs/decisions/0007).

    Source: the Gaussian copula as a model of mixed tables, as in Patki et al. 2016 (The Synthetic Data Vault), section III;
    here it is what a network corrects.

    numbers: the fields. tokens: of all fields. classes: 0 where there is no class."""

    scores: Tensor
    ordered: Tensor
    means: Tensor
    spread: Tensor

    def __init__(self, numbers: Sequence[int], tokens: int, classes: int) -> None:
        super().__init__()
        count = len(numbers)
        self.numbers = list(numbers)
        #: Named so that weight decay leaves it alone.
        self.belief_bias = nn.Parameter(torch.ones(count))
        # The last token is what is not known; the last class as well.
        self.register_buffer("scores", torch.zeros(tokens + 1))
        self.register_buffer("ordered", torch.zeros(tokens + 1))
        self.register_buffer("means", torch.zeros(classes + 1, count))
        # Within classes, and of all rows.
        self.register_buffer("spread", torch.eye(count, dtype=torch.float64).repeat(2, 1, 1))

    def begin(self, tokens: Array, labels: Array | None, ranks: Array, starts: Sequence[int]) -> None:
        """tokens: (rows, fields) places among all; labels: (rows,) or None; ranks: (tokens,) NaN without order."""
        counts = np.bincount(tokens.ravel(), minlength=len(ranks)).astype(np.float64)
        scores, ordered = np.zeros(len(ranks) + 1), np.zeros(len(ranks) + 1)
        for field in self.numbers:
            at = np.arange(starts[field], starts[field + 1])
            at = at[~np.isnan(ranks[at])]
            at = at[np.argsort(ranks[at], kind="stable")]
            mass = counts[at]
            middle = (np.cumsum(mass) - mass / 2) / max(mass.sum(), 1.0)
            scores[at], ordered[at] = norm.ppf(middle.clip(EDGE, 1 - EDGE)), 1.0
        z = scores[tokens[:, self.numbers]]
        means = np.zeros(self.means.shape)
        for k in range(len(means) - 1) if labels is not None else ():
            own = z[labels == k]
            means[k] = own.sum(axis=0) / (len(own) + DRAWN)
        ridge = max(RIDGE, len(self.numbers) / len(z)) * np.eye(len(self.numbers))
        apart = z - means[labels] if labels is not None else z
        spread = np.stack([part.T @ part / len(z) + ridge for part in (apart, z - z.mean(axis=0))])
        for name, value in (("scores", scores), ("ordered", ordered), ("means", means), ("spread", spread)):
            held = getattr(self, name)
            held.copy_(torch.from_numpy(value).to(held))

    def lines(self, order: Sequence[int]) -> Lines:
        """How each number follows from those before it in `order`, within classes and of all rows: weights (2, numbers,
        numbers), variances that are left (2, numbers), and variances (2, numbers)."""
        place = {field: k for k, field in enumerate(order)}
        along = sorted(range(len(self.numbers)), key=lambda k: place.get(self.numbers[k], len(order)))
        spread = self.spread.cpu().numpy()
        weights, left = np.zeros(spread.shape), np.zeros(spread.shape[:2])
        for k, own in enumerate(spread):
            root = np.linalg.cholesky(own[np.ix_(along, along)])
            scale = np.diag(root)
            weights[k][np.ix_(along, along)] = np.eye(len(along)) - np.linalg.inv(root / scale)
            left[k, along] = scale**2
        like = self.means
        whole = np.diagonal(spread, axis1=1, axis2=2)
        first, last, all_ = (
            torch.from_numpy(np.ascontiguousarray(each)).to(like) for each in (weights, left + LEAST, whole + LEAST)
        )
        return first, last, all_

    def terms(
        self, z: Tensor, label: Tensor, lines: Lines, k: int, pick: int | slice = slice(None)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What is added to a number's logits, as a polynomial of its tokens' scores: constant and slope (rows, numbers), and
        curvature (numbers,).

        z: (rows, numbers) scores. label: (rows,) classes. k: 0 where the class is known before the number, else 1."""
        weights, left, whole = (each[k][pick] for each in lines)
        mean = self.means[label]
        own = mean[:, pick] + (z - mean) @ weights.T
        constant = 0.5 * torch.log(whole / left) - own.square() / (2 * left) + mean[:, pick].square() / (2 * whole)
        slope = own / left - mean[:, pick] / whole
        belief = self.belief_bias[pick]
        return belief * constant, belief * slope, belief * (0.5 / whole - 0.5 / left)
