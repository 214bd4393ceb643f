"""Which point of a latent space does a row come from, and what row does a point become? Encoder, prior, decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.tabular._density_train import Density

#: Waves along the ranks of numbers, so that neighbours look alike before anything is learned.
WAVES = 6
#: Rows of all classes that the frequencies of a class begin with.
DRAWN = 5.0
#: Layers of the prior, and how far one of them may stretch a coordinate (nats).
LAYERS, STRETCH = 6, 2.0
#: Least and greatest log of a point's standard deviation.
NARROW, WIDE = -7.0, 2.0
NORMAL = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Shape:
    """Tokens of each field, all of two and more; ranks: (tokens,) of all, NaN without order; inner: pairs of a field and the
    field whose token it refines; classes: 1 where there is no class."""

    sizes: tuple[int, ...]
    ranks: tuple[float, ...]
    inner: tuple[tuple[int, int], ...]
    classes: int

    @cached_property
    def starts(self) -> list[int]:
        """Where the tokens of each field begin among all, and last how many there are."""
        return [0, *np.cumsum(self.sizes).tolist()]


class Group(nn.Module):
    """Fields of one size that all refine others, or that all do not: a table of a thousand columns has few such groups.

    fields: (k,) of them; first: (k,) where their tokens begin among all; places: (k * size,) these tokens. outer, origin: (k,)
    the fields that they refine and where those begin; base: (k,) the row of the group's table for the first token of those."""

    fields: Tensor
    first: Tensor
    places: Tensor
    outer: Tensor
    origin: Tensor
    base: Tensor

    def __init__(self, shape: Shape, fields: Sequence[int], outer: dict[int, int], base: dict[int, int]) -> None:
        super().__init__()
        self.size, self.refines = shape.sizes[fields[0]], fields[0] in outer
        first = torch.tensor([shape.starts[i] for i in fields])
        held = {"fields": torch.tensor(fields), "first": first, "places": (first[:, None] + torch.arange(self.size)).flatten()}
        if self.refines:
            held["outer"] = torch.tensor([outer[i] for i in fields])
            held["origin"] = torch.tensor([shape.starts[outer[i]] for i in fields])
            held["base"] = torch.tensor([base[i] for i in fields])
        for name, value in held.items():
            self.register_buffer(name, value, persistent=False)


class Block(nn.Module):
    """(n, width) -> (n, width): a residual layer."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.last(self.drop(F.relu(self.first(self.norm(x)))))
        return out


class Prior(nn.Module):
    """Where points of a class lie: a normal distribution bent by affine coupling layers.

    Sources: Dinh et al. 2017 (Real NVP, arXiv 1605.08803), section 3; as a prior that is learned with the autoencoder: Chen et
    al. 2017 (arXiv 1611.02731), section 3.2."""

    def __init__(self, latent: int, classes: int, width: int) -> None:
        super().__init__()
        self.cut = latent // 2
        moved = [latent - self.cut if k % 2 == 0 else self.cut for k in range(LAYERS)]
        self.label = nn.ModuleList(nn.Embedding(classes, width) for _ in moved)
        self.enter = nn.ModuleList(nn.Linear(latent - size, width) for size in moved)
        self.middle = nn.ModuleList(nn.Linear(width, width) for _ in moved)
        self.leave = nn.ModuleList(nn.Linear(width, 2 * size) for size in moved)
        for value in self.leave.parameters():
            nn.init.zeros_(value)

    def nats(self, z: Tensor, label: Tensor) -> Tensor:
        """The log of p(z | class): (n, latent), (n,) -> (n,)."""
        u, stretched = self.flatten(z, label)
        return stretched - (0.5 * u.square() + NORMAL).sum(dim=1)

    def flatten(self, z: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Points to where they are normal, (n, latent), and the log-determinant, (n,)."""
        first, last = z[:, : self.cut], z[:, self.cut :]
        total = z.new_zeros(len(z))
        for k in range(LAYERS):
            still, moved = (first, last) if k % 2 == 0 else (last, first)
            scale, shift = self._bend(k, still, label)
            moved = moved * scale.exp() + shift
            first, last = (still, moved) if k % 2 == 0 else (moved, still)
            total = total + scale.sum(dim=1)
        return torch.cat([first, last], dim=1), total

    def bend(self, u: Tensor, label: Tensor) -> Tensor:
        """Normal points to where points of the class lie, (n, latent); undoes `flatten`."""
        first, last = u[:, : self.cut], u[:, self.cut :]
        for k in reversed(range(LAYERS)):
            still, moved = (first, last) if k % 2 == 0 else (last, first)
            scale, shift = self._bend(k, still, label)
            moved = (moved - shift) * (-scale).exp()
            first, last = (still, moved) if k % 2 == 0 else (moved, still)
        return torch.cat([first, last], dim=1)

    def _bend(self, k: int, still: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.enter[k](still) + self.label[k](label))
        scale, shift = self.leave[k](F.relu(self.middle[k](hidden))).chunk(2, dim=1)
        return STRETCH * torch.tanh(scale / STRETCH), shift


class Net(Density):
    """Encoder q(z | row, class), prior p(z | class), and decoder p(row | z, class), which takes columns as independent given z.

    Rows are places among all tokens, (n, fields) int64; below 0 is what train did not hold. Classes are (n,) int64."""

    waves: Tensor

    def __init__(self, shape: Shape, latent: int, width: int, drop: float, beta: float) -> None:
        super().__init__()
        self.shape, self.latent, self.beta = shape, latent, beta
        tokens, scale = shape.starts[-1], 0.5 / math.sqrt(len(shape.sizes))
        self.register_buffer("waves", waves(shape.ranks), persistent=False)
        # Numbers enter and leave by their waves alone at first: so points of near numbers come to lie near each other.
        free = torch.isnan(torch.tensor(shape.ranks, dtype=torch.float64)).float()[:, None]
        self.tables = nn.Parameter(torch.randn(tokens, width) * scale * free)
        self.wave_in = nn.Parameter(torch.randn(WAVES, width) * scale)
        self.label_in, self.label_out = nn.Embedding(shape.classes, width), nn.Embedding(shape.classes, width)
        self.encoder = nn.Sequential(Block(width, drop), Block(width, drop), nn.LayerNorm(width))
        self.point = nn.Linear(width, 2 * latent)
        self.enter = nn.Linear(latent, width)
        self.decoder = nn.Sequential(Block(width, drop), Block(width, drop), nn.LayerNorm(width))
        self.out = nn.Parameter(torch.randn(tokens, width) * 0.02 * free)
        self.wave_out = nn.Parameter(torch.zeros(WAVES, width))
        self.out_bias = nn.Parameter(torch.zeros(shape.classes, tokens))
        # Which part of a bin is likely depends on the bin: the two tokens of one number are not independent given z.
        self.outer = dict(shape.inner)
        self.base: dict[int, int] = {}
        rows: dict[int, int] = {}
        for own, outer in shape.inner:
            self.base[own] = rows.get(shape.sizes[own], 0)
            rows[shape.sizes[own]] = self.base[own] + shape.sizes[outer]
        # One table for all fields of a size: each has a row for every token of the field that it refines.
        self.inner_bias = nn.ParameterDict({str(size): torch.zeros(count, size) for size, count in rows.items()})
        kinds: dict[tuple[int, bool], list[int]] = {}
        for i, size in enumerate(shape.sizes):
            kinds.setdefault((size, i in self.outer), []).append(i)
        self.groups = nn.ModuleList(Group(shape, fields, self.outer, self.base) for fields in kinds.values())
        self.prior = Prior(latent, shape.classes, width // 2)

    def begin(self, rows: Tensor, label: Tensor) -> None:
        """Start from the frequencies of tokens, within each class drawn towards those of all rows."""
        starts = self.shape.starts
        whole = torch.bincount(rows.flatten(), minlength=starts[-1]).double() + 0.5
        for first, end in zip(starts, starts[1:], strict=False):
            whole[first:end] /= whole[first:end].sum()
        with torch.no_grad():
            for k in range(self.shape.classes):
                own = rows[label == k]
                counts = torch.bincount(own.flatten(), minlength=starts[-1]).double()
                self.out_bias[k] = torch.log((counts + DRAWN * whole) / (len(own) + DRAWN)).float()

    def encode(self, rows: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log of the standard deviation of each row's point: two of (n, latent)."""
        tables = self.tables + self.waves @ self.wave_in
        tables = torch.cat([tables, tables.new_zeros(1, tables.shape[1])])
        known = torch.where(rows < 0, len(tables) - 1, rows)
        hidden = F.embedding_bag(known, tables, mode="sum") + self.label_in(label)
        mean, spread = self.point(self.encoder(hidden)).chunk(2, dim=1)
        return mean, spread.clamp(NARROW, WIDE)

    def hidden(self, z: Tensor, label: Tensor) -> Tensor:
        """What the decoder makes of points before it speaks of fields: (n, width)."""
        out: Tensor = self.decoder(self.enter(z) + self.label_out(label))
        return out

    def heads(self) -> Tensor:
        """Weights of each token: (tokens, width)."""
        return self.out + self.waves @ self.wave_out

    def logits(self, field: int, hidden: Tensor, label: Tensor, heads: Tensor, outer: Tensor | None = None) -> Tensor:
        """(n, size) of a field. outer: (n,) local tokens of the field that it refines, if it refines one."""
        first, end = self.shape.starts[field], self.shape.starts[field + 1]
        out = F.linear(hidden, heads[first:end]) + F.embedding(label, self.out_bias[:, first:end])
        return out if outer is None else out + F.embedding(self.base[field] + outer, self.inner_bias[str(end - first)])

    def told(self, z: Tensor, rows: Tensor, label: Tensor) -> Tensor:
        """The log of p(row | z, class): (n,); a token below 0 adds nothing."""
        hidden, heads = self.hidden(z, label), self.heads()
        total = z.new_zeros(len(z))
        for group in (group for group in self.groups if isinstance(group, Group)):
            logits = F.linear(hidden, heads[group.places]) + F.embedding(label, self.out_bias[:, group.places])
            logits = logits.view(len(z), -1, group.size)
            if group.refines:
                known = group.base + (rows[:, group.outer] - group.origin).clamp(min=0)
                logits = logits + F.embedding(known, self.inner_bias[str(group.size)])
            own = rows[:, group.fields]
            wanted = torch.where(own < 0, -100, own - group.first)
            losses = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none", ignore_index=-100)
            total = total - losses.view(len(z), -1).sum(dim=1)
        return total

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """The negative bound on the log of p(row | class), its divergence weighted by beta: (n,) nats."""
        tokens, label = rows
        z, divergence = self.drawn(tokens, label)
        return self.beta * divergence - self.told(z, tokens, label)

    def drawn(self, rows: Tensor, label: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A point of each row, (n, latent), and how much likelier it is there than by the prior, (n,) nats."""
        mean, spread = self.encode(rows, label)
        noise = torch.randn_like(mean) if noise is None else noise.expand_as(mean)
        z = mean + spread.exp() * noise
        own = -(spread + 0.5 * noise.square() + NORMAL).sum(dim=1)
        return z, own - self.prior.nats(z, label)


def waves(ranks: Sequence[float]) -> Tensor:
    """Cosines along the ranks, long ones strong: (tokens, WAVES), zero where there is no order.

    Short waves of the same size would scatter neighbours over the latent space, and paths through it would jump."""
    turn = np.arange(1, WAVES + 1)
    at = np.array(ranks, dtype=np.float64)[:, None] * np.pi * turn
    return torch.from_numpy(np.nan_to_num(2 * np.cos(at) / turn**2).astype(np.float32))
