"""Do columns of drawn rows hold their tokens as often as train does? Small errors add up along a row; this takes them back."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from generators.tabular._autoregressive_draw import Drawer
from generators.tabular._autoregressive_net import Net

Array = np.ndarray
#: Draws, rows of each, how much of a difference is taken back at once, and the most that is (nats).
ROUNDS, ROWS, PART, MOST = 4, 40_000, 0.7, 0.5
#: Rows of a token that a difference is weighed against: what few rows say is chance.
WEIGHT = 30.0


def temper(net: Net, held: Array, order: Sequence[int]) -> None:
    """Sharpen or soften each field so that it is as sure of rows that were set aside as it is right about them.

    held: (n, fields) local tokens. What a field learned beyond its biases is multiplied by the number that makes those rows
    likeliest; with few rows hardly changed. Source: temperature scaling, Guo et al. 2017 (arXiv 1706.04599), section 4.2; what
    is different: one for each field, and a field that is sure of too much falls back to its class's frequencies."""
    drawer = Drawer(net)
    scales = drawer.scales(held, order)
    with torch.no_grad():
        for (a, b), scale in zip(itertools.pairwise(net.fields.starts), scales, strict=True):
            waves = net.waves[a:b] @ net.wave_out
            net.out[a:b] = (net.out[a:b] + waves) * scale - waves


def tune(net: Net, tokens: Array, order: Sequence[int], seed: int) -> None:
    """Shift the biases of a trained network until drawn rows hold each token as often, class by class, as `tokens` do.

    tokens: (n, fields) local tokens of train. The order is that in which rows are drawn, a class first."""
    fields, classed = net.fields, net.fields.classed
    starts = np.array(fields.starts[:-1])
    real = _shares(tokens + starts, tokens[:, classed] if classed is not None else None, net)
    for turn in range(ROUNDS):
        drawn = Drawer(net).draw(ROWS, order, {}, seed + turn)
        made = _shares(drawn + starts, drawn[:, classed] if classed is not None else None, net)
        for k in range(fields.classes + 1):
            (wanted, n), (got, m) = real[k], made[k]
            if not n or not m:
                continue
            # Both as if of the smaller number of rows, so that neither side's chance is believed.
            size = min(n, m)
            shift = np.log((wanted * size + WEIGHT) / (got * size + WEIGHT)).clip(-MOST, MOST) * PART
            if classed is not None:
                own = np.zeros(fields.tokens, dtype=bool)
                own[starts[classed] : starts[classed] + fields.classes] = True
                shift[own if k < fields.classes else ~own] = 0.0
            with torch.no_grad():
                net.out_bias[k] += torch.from_numpy(shift).to(net.out_bias)


def _shares(ids: Array, label: Array | None, net: Net) -> list[tuple[Array, int]]:
    """Share of each token, and the rows: within each class, and last over all."""
    count = net.fields.tokens
    groups = [ids[label == k] for k in range(net.fields.classes)] if label is not None else []
    return [(np.bincount(part.ravel(), minlength=count) / max(len(part), 1), len(part)) for part in (*groups, ids)]
