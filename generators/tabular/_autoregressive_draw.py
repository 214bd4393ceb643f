"""How are rows drawn field by field, so that each costs a small product? A trained network laid out for drawing."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from generators.tabular._autoregressive_net import Net
from generators.tabular._autoregressive_start import Lines

Array = np.ndarray
#: Rows that go through all fields together: what belongs to them fits a core's own cache; a GPU wants many.
CHUNK, GPU_CHUNK = 2048, 131_072
#: Newton's steps of a field's temperature, and how many nats it costs that a field is e times surer than it learned to be.
NEWTON, PRIOR = 12, 10.0


class _Known:
    """What some rows know so far, where each head has a table of its own: their tokens.

    free: the same without the class, where the class is to be followed more than it was learned; None elsewhere."""

    def __init__(self, net: Drawer, rows: int, lines: Lines | None = None, *, free: bool = False) -> None:
        self.net, self.lines, self.tokens = net, lines, torch.empty(rows, 0, dtype=torch.long, device=net.device)
        self.z = torch.zeros(rows, len(net.numbers), device=net.device)
        self.label: Tensor | None = None
        #: Local tokens of the fields that say what others never are; the last place for one that is not known.
        self.told: dict[int, Tensor] = {}
        self.free: _Known | None = type(self)(net, rows, lines) if free else None

    def add(self, field: int, ids: Tensor) -> None:
        self._learn(ids)
        if field in self.net.telling:
            self.told[field] = (ids - self.net.starts[field]).clamp(max=self.net.sizes[field])
        if self.net.start is not None and field in self.net.numbers:
            self.z[:, self.net.numbers[field]] = self.net.start.scores[ids]
        if field == self.net.classed:
            self.label = self.net.label(ids)
        elif self.free is not None:
            self.free.add(field, ids)

    def take(self, rows: Tensor | slice) -> Self:
        out = type(self)(self.net, 0, self.lines)
        out.z = self.z[rows].clone()
        out.label = None if self.label is None else self.label[rows]
        out.told = {field: ids[rows] for field, ids in self.told.items()}
        out.free = None if self.free is None else self.free.take(rows)
        self._give(out, rows)
        return out

    def _learn(self, ids: Tensor) -> None:
        self.tokens = torch.cat([self.tokens, ids[:, None]], dim=1)

    def _give(self, out: Self, rows: Tensor | slice) -> None:
        out.tokens = self.tokens[rows]

    def read(self, field: int) -> Tensor:
        """(rows, width)"""
        if not self.tokens.shape[1]:
            return torch.zeros(len(self.tokens), self.net.width, device=self.net.device)
        return F.embedding_bag(self.tokens, self.net.tables[field], mode="sum")


class _State(_Known):
    """What some rows know so far, where all heads read one sum."""

    def __init__(self, net: Drawer, rows: int, lines: Lines | None = None, *, free: bool = False) -> None:
        super().__init__(net, rows, lines, free=free)
        self.sum = torch.zeros(rows, net.tables[0].shape[1], device=net.device)

    def _learn(self, ids: Tensor) -> None:
        self.sum += F.embedding(ids, self.net.tables[0])

    def _give(self, out: Self, rows: Tensor | slice) -> None:
        out.sum = self.sum[rows].clone()

    def read(self, field: int) -> Tensor:
        return self.sum @ self.net.pick[field]


class Drawer:
    """Draws, fills in and rates rows of tokens; local tokens, 0 <= token < size of the field.

    guidance: how much of what the class says about other fields is taken while rows are drawn: 1 as it was learned, more for
    rows that are more typical of their class. Source: Ho and Salimans 2022 (classifier-free guidance, arXiv 2207.12598),
    equation 6, of logits. device: where rows are drawn."""

    def __init__(self, net: Net, guidance: float = 1.0, device: torch.device | str = "cpu") -> None:
        self.guidance, self.device = guidance, torch.device(device)
        with torch.no_grad():
            self.sizes, self.starts, self.width = net.fields.sizes, net.fields.starts, net.width
            whole = net.tables + net.waves @ net.wave_in
            # The last row, of zeros, is what is not known.
            whole = torch.cat([whole, torch.zeros_like(whole[:1])]).to(device)
            self.shared = net.shared
            self.tables = [whole] if net.shared else list(whole.view(len(whole), -1, net.width).transpose(0, 1).contiguous())
            self.pick = net.pick.detach().to(device) if net.shared else torch.empty(0)
            self.bias, self.inner, self.inner_bias = (t.detach().to(device) for t in (net.bias, net.inner, net.inner_bias))
            out = (net.out + net.waves @ net.wave_out).to(device)
            parts = list(zip(self.starts, self.starts[1:], strict=False))
            self.out = [out[a:b].T.contiguous() for a, b in parts]
            self.out_bias = [net.out_bias[:, a:b].detach().to(device).contiguous() for a, b in parts]
            self.classed, self.classes = net.fields.classed, net.fields.classes
            self.start = None if net.start is None else copy.deepcopy(net.start).to(device)
            #: For each field, which of its tokens have an order, and their scores: (2, size).
            self.along = (
                [torch.stack([self.start.ordered[a:b], self.start.scores[a:b]]) for a, b in parts] if self.start else []
            )
            self.never = [net.never.terms(field, device) for field in range(len(parts))]
            self.telling = {other for terms in self.never for other, _ in terms}
            self.numbers = {} if net.start is None else {field: k for k, field in enumerate(net.start.numbers)}

    def label(self, ids: Tensor) -> Tensor:
        """The row of biases of a class by its place among all tokens; the last for one that is not known."""
        first = self.starts[self.classed or 0]
        return torch.where(ids < self.starts[-1], ids - first, self.classes)

    def _known(self, rows: int, order: Sequence[int], *, free: bool = False) -> _Known:
        lines = None if self.start is None else self.start.lines(order)
        return (_State if self.shared else _Known)(self, rows, lines, free=free)

    def _logits(self, known: _Known, field: int) -> Tensor:
        """(rows, size)"""
        said = self._said(known, field)
        return said if known.free is None else torch.lerp(self._said(known.free, field), said, self.guidance)

    def _said(self, known: _Known, field: int) -> Tensor:
        first = torch.relu_(known.read(field).add_(self.bias[field]))
        second = torch.relu_(torch.addmm(self.inner_bias[field], first, self.inner[field]))
        return torch.addmm(self._bias(known, field), first.add_(second), self.out[field])

    def _bias(self, known: _Known, field: int) -> Tensor:
        """What logits begin with: (rows, size), or (size,) where nothing that counts is known."""
        begun = self._frequent(known, field)
        for other, cells in self.never[field]:
            if other in known.told:
                begun = begun + F.embedding(known.told[other], cells)
        return begun

    def _frequent(self, known: _Known, field: int) -> Tensor:
        bias, label = self.out_bias[field], known.label
        if self.start is None or known.lines is None or field not in self.numbers:
            return bias[-1] if label is None else F.embedding(label, bias)
        late = label is None and self.classed is not None
        of = torch.full((len(known.z),), self.classes, device=self.device) if label is None else label
        own, along = slice(self.numbers[field], self.numbers[field] + 1), self.along[field]
        constant, slope, curve = self.start.terms(known.z, of, known.lines, int(late), own)
        bias = bias + curve * along[1].square()
        begun = bias[-1] if label is None else F.embedding(label, bias)
        return torch.addmm(begun, torch.cat([constant, slope], dim=1), along)

    @torch.no_grad()
    def draw(self, n: int, order: Sequence[int], given: Mapping[int, int], seed: int) -> Array:
        """`n` independent rows that hold `given` (field: token): (n, fields) int64; `order` begins with the given fields.

        The first fields are drawn for all rows at once: so many rows of one prefix are so many draws from one distribution,
        which is a multinomial one. Once prefixes are many, each row goes on alone."""
        generator = torch.Generator(self.device).manual_seed(seed)
        rng = np.random.default_rng(seed)
        known, counts = self._known(1, order, free=self.guidance != 1 and self.classed is not None), np.array([n])
        tokens = np.zeros((1, len(self.sizes)), dtype=np.int64)
        at = 0
        while at < len(order):
            field = order[at]
            if field in given:
                tokens[:, field] = given[field]
            elif 2 * len(counts) * self.sizes[field] <= n:
                chance = torch.softmax(self._logits(known, field).double(), dim=1).cpu().numpy()
                split = rng.multinomial(counts, chance / chance.sum(axis=1, keepdims=True))
                rows, picked = np.nonzero(split)
                counts, tokens, known = split[rows, picked], tokens[rows], known.take(self._here(rows))
                tokens[:, field] = picked
            else:
                break
            known.add(field, self._here(tokens[:, field] + self.starts[field]))
            at += 1
        rows = np.repeat(np.arange(len(counts)), counts)
        rng.shuffle(rows)
        return self._alone(tokens[rows], known.take(self._here(rows)), order[at:], given, generator)

    def _alone(
        self, tokens: Array, known: _Known, order: Sequence[int], given: Mapping[int, int], generator: torch.Generator
    ) -> Array:
        chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK
        for first in range(0, len(tokens) if order else 0, chunk):
            rows = slice(first, min(first + chunk, len(tokens)))
            part, drawn = known.take(rows), []
            for field in order:
                if field in given:
                    drawn.append(torch.full((rows.stop - first,), given[field], device=self.device))
                else:
                    drawn.append(_pick(self._logits(part, field), generator))
                part.add(field, drawn[-1] + self.starts[field])
            tokens[rows, order] = torch.stack(drawn, dim=1).cpu().numpy()
        return tokens

    def _here(self, places: Array) -> Tensor:
        return torch.from_numpy(places).to(self.device)

    @torch.no_grad()
    def nats(self, tokens: Array, order: Sequence[int]) -> Array:
        """Log-likelihood of each row, fields taken in `order`: (n,) float64; a token below 0 is unknown and adds nothing."""
        out = np.zeros(len(tokens))
        for first in range(0, len(tokens), CHUNK):
            part, rows = tokens[first : first + CHUNK], slice(first, first + CHUNK)
            known = self._known(len(part), order)
            for field in order:
                said = torch.log_softmax(self._logits(known, field).double(), dim=1).numpy()
                out[rows] += np.where(part[:, field] >= 0, said[np.arange(len(part)), part[:, field]], 0.0)
                known.add(field, self._ids(part[:, field], field))
        return out

    @torch.no_grad()
    def scales(self, tokens: Array, order: Sequence[int]) -> list[float]:
        """For each field, by what its logits must be multiplied that `tokens` are likeliest, fields taken in `order`."""
        out = [1.0] * len(self.sizes)
        known = self._known(len(tokens), order)
        for field in order:
            rest, logits = self._bias(known, field).double(), self._logits(known, field).double()
            out[field] = _scale(logits - rest, rest, torch.from_numpy(tokens[:, field]))
            known.add(field, self._ids(tokens[:, field], field))
        return out

    @torch.no_grad()
    def fill(self, tokens: Array, order: Sequence[int], banned: Mapping[int, int], seed: int) -> Array:
        """The rows with each token below 0 drawn given those that are known; banned: field -> a token never drawn there."""
        generator, out = torch.Generator().manual_seed(seed), tokens.copy()
        kinds, of = np.unique(tokens < 0, axis=0, return_inverse=True)
        for kind in range(len(kinds)):
            rows, unknown = np.flatnonzero(of.ravel() == kind), kinds[kind].tolist()
            for some in np.array_split(rows, -(-len(rows) // CHUNK)):
                along = sorted(order, key=unknown.__getitem__)
                known = self._known(len(some), along)
                for field in along:
                    if unknown[field]:
                        logits = self._logits(known, field)
                        if field in banned:
                            logits[:, banned[field]] = -torch.inf
                        out[some, field] = _pick(logits, generator).numpy()
                    known.add(field, self._ids(out[some, field], field))
        return out

    def _ids(self, tokens: Array, field: int) -> Tensor:
        """Places among all tokens; the one after the last for what is not known."""
        return torch.from_numpy(np.where(tokens >= 0, tokens + self.starts[field], self.starts[-1]))


def _pick(logits: Tensor, generator: torch.Generator) -> Tensor:
    """A token for each row: (rows,) int64."""
    upto = torch.cumsum(logits.sub_(logits.amax(dim=1, keepdim=True)).exp_(), dim=1)
    at = torch.rand(len(logits), 1, generator=generator, device=logits.device).mul_(upto[:, -1:])
    return (upto[:, :-1] <= at).sum(dim=1)


def _scale(logits: Tensor, rest: Tensor, tokens: Tensor) -> float:
    """The number that logits are multiplied by, the rest as it is, so that tokens are likeliest: Newton's steps."""
    scale, rows = 1.0, torch.arange(len(tokens))
    for _ in range(NEWTON):
        chance = torch.softmax(scale * logits + rest, dim=1)
        mean = (chance * logits).sum(dim=1)
        slope = float((mean - logits[rows, tokens]).sum()) + PRIOR * math.log(scale) / scale
        curve = float(((chance * logits.square()).sum(dim=1) - mean.square()).sum()) + PRIOR / scale**2
        scale = min(max(scale - slope / curve, scale / 1.5), scale * 1.5)
    return scale
