"""What comes next in a row, given any part of it? A network with a head for each field of a table of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.tabular._autoregressive_never import Never
from generators.tabular._autoregressive_start import MOST, Start

#: Beyond so many weights of the first layer all fields read one shared state instead of tables of their own.
TABLES = 24_000_000
#: Width of the shared state over the width of a head.
SHARED = 2
#: Waves along the ranks of numbers, so that neighbours look alike before anything is learned.
WAVES = 6
#: Rows of all classes that the frequencies of a class begin with.
DRAWN = 5.0


@dataclass(frozen=True)
class Fields:
    """The fields that a network guesses: tokens of each, all of two and more; ranks: (tokens,) of all, NaN without order;
    classed: the field of the class, None where there is none; numbers: fields that are columns of numbers."""

    sizes: tuple[int, ...]
    ranks: tuple[float, ...]
    classed: int | None = None
    numbers: tuple[int, ...] = ()

    @property
    def starts(self) -> list[int]:
        """Where the tokens of each field begin among all, and last how many there are."""
        return [0, *np.cumsum(self.sizes).tolist()]

    @property
    def tokens(self) -> int:
        return sum(self.sizes)

    @property
    def classes(self) -> int:
        return 0 if self.classed is None else self.sizes[self.classed]


class Net(nn.Module):
    """Logits of every field given those before it in an order.

    What is known enters as a sum over fields of a learned vector for each token: (rows, fields, width), one sum for each
    head, or one for all where tables are wide. Behind it each head has a residual layer of its own and one row of weights
    for each token. So a head for one field costs two small products, whatever was known, and sums grow field by field.

    Source: the any-order network of TabularARGN (Tiwald et al. 2025, arXiv 2501.12012, section 3.2). What is different:
    additive inputs for each head instead of concatenated embeddings, vectors of numbers that begin as waves along their
    ranks, and logits that begin as the class's own frequencies, so that a class of few rows need not be learned first."""

    waves: Tensor
    owner: Tensor

    def __init__(self, fields: Fields, width: int, drop: float = 0.0) -> None:
        super().__init__()
        count, tokens = len(fields.sizes), fields.tokens
        self.fields, self.width, self.drop = fields, width, drop
        self.shared = tokens * count * width > TABLES
        self.state = SHARED * width if self.shared else count * width
        self.register_buffer("waves", _waves(fields.ranks), persistent=False)
        owner = np.repeat(np.arange(count), fields.sizes)
        self.register_buffer("owner", torch.from_numpy(owner), persistent=False)
        self.groups = _groups(fields)
        #: Known once the network has been trained.
        self.never = Never()
        scale = 0.5 / math.sqrt(count)
        self.tables = nn.Parameter(torch.randn(tokens, self.state) * scale)
        self.wave_in = nn.Parameter(torch.randn(self.waves.shape[1], self.state) * scale)
        if self.shared:
            self.pick = nn.Parameter(torch.randn(count, self.state, width) / math.sqrt(self.state))
        self.bias = nn.Parameter(torch.zeros(count, 1, width))
        self.inner = nn.Parameter(torch.randn(count, width, width) / math.sqrt(width))
        self.inner_bias = nn.Parameter(torch.zeros(count, 1, width))
        self.out = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.wave_out = nn.Parameter(torch.zeros(self.waves.shape[1], width))
        small = 1 < len(fields.numbers) <= MOST and not self.shared
        self.start = Start(fields.numbers, tokens, fields.classes) if small else None
        # The last row is what is added where the class is not known.
        self.out_bias = nn.Parameter(torch.zeros(fields.classes + 1, tokens))

    def begin(self, tokens: Tensor) -> None:
        """Start from the frequencies of the tokens, within each class drawn towards those of all rows: (rows, fields)."""
        fields, classed = self.fields, self.fields.classed
        if self.start is not None:
            held = tokens.cpu().numpy()
            labels = None if classed is None else held[:, classed] - fields.starts[classed]
            self.start.begin(held, labels, np.array(fields.ranks, dtype=np.float64), fields.starts)
        whole = torch.bincount(tokens.flatten(), minlength=fields.tokens).double() + 0.5
        with torch.no_grad():
            for first, end in zip(fields.starts, fields.starts[1:], strict=False):
                share = whole[first:end] / whole[first:end].sum()
                self.out_bias[-1, first:end] = torch.log(share).float()
                whole[first:end] = share
            for k in range(fields.classes):
                own = tokens[tokens[:, classed] == fields.starts[classed or 0] + k]
                counts = torch.bincount(own.flatten(), minlength=fields.tokens).double()
                self.out_bias[k] = torch.log((counts + DRAWN * whole) / (len(own) + DRAWN)).float()

    def class_of(self, tokens: Tensor, field: int, place: Sequence[int]) -> Tensor:
        """The row of `out_bias` that a field takes for each row: its class where that comes before the field. (rows,)"""
        classed = self.fields.classed
        if classed is None or place[classed] >= place[field]:
            return torch.full((len(tokens),), self.fields.classes, dtype=torch.long, device=tokens.device)
        return tokens[:, classed] - self.fields.starts[classed]

    def losses(self, tokens: Tensor, order: Sequence[int], *, each: bool = False) -> Tensor:
        """Nats of each field given those before it in `order`, means over rows: (fields,), or of each row: (fields, rows).

        tokens: (rows, fields) places among all tokens."""
        heads, out = (
            self._heads(tokens, order),
            torch.cat([self.out + self.waves @ self.wave_out, self.out.new_zeros(1, self.width)]),
        )
        bias = torch.cat([self.out_bias, self.out_bias.new_full((len(self.out_bias), 1), -torch.inf)], dim=1)
        place = np.argsort(order).tolist()
        terms = self._terms(tokens, order, place)
        losses: list[Tensor] = [heads] * len(order)
        for group, places in self.groups:
            # (fields, rows, size): fields of like size in one product, the last places of smaller ones never likely.
            begun = self._begun(bias, group, places, tokens, place)
            if self.start is not None and terms is not None:
                along, ordered = self.start.scores[places][:, None], self.start.ordered[places][:, None]
                constant, slope, curve = (each[group] for each in terms)
                begun = begun + constant[:, :, None] * ordered + slope[:, :, None] * along + curve[:, :, None] * along.square()
            logits = torch.baddbmm(begun, heads[group], out[places].transpose(1, 2))
            truth = (tokens[:, group] - places[:, 0]).T
            found = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").view(truth.shape)
            for k, field in enumerate(group):
                losses[field] = found[k] if each else found[k].mean()
        return torch.stack(losses)

    def _terms(self, tokens: Tensor, order: Sequence[int], place: Sequence[int]) -> tuple[Tensor, Tensor, Tensor] | None:
        """What numbers say of one another, see Start.terms, for all fields: (fields, rows) twice, and (fields, 1)."""
        if self.start is None:
            return None
        start, classed = self.start, self.fields.classed
        lines, z = start.lines(order), start.scores[tokens[:, start.numbers]]
        late = [classed is not None and place[classed] >= place[field] for field in start.numbers]
        none = torch.full((len(tokens),), self.fields.classes, dtype=torch.long, device=tokens.device)
        label = none if classed is None else tokens[:, classed] - self.fields.starts[classed]
        told, free = start.terms(z, label, lines, 0), start.terms(z, none, lines, 1)
        which = torch.tensor(late, device=tokens.device)
        out = []
        for early, other in zip(told, free, strict=True):
            each = torch.where(which, other, early)
            each = each[None] if each.dim() == 1 else each
            whole = each.new_zeros(len(self.fields.sizes), len(each))
            out.append(whole.index_copy(0, torch.tensor(start.numbers, device=each.device), each.T))
        return out[0], out[1], out[2]

    def _begun(self, bias: Tensor, group: list[int], places: Tensor, tokens: Tensor, place: Sequence[int]) -> Tensor:
        """What the logits of a group begin with: (fields, rows, size). bias: (classes + 1, tokens + 1)."""
        if self.fields.classed is None:
            return bias[0][places][:, None]
        labels = [self.class_of(tokens, field, place) for field in group]
        return torch.stack([F.embedding(labels[k], bias[:, places[k]]) for k in range(len(group))])

    def _heads(self, tokens: Tensor, order: Sequence[int]) -> Tensor:
        """(fields, rows, width)"""
        first = F.relu(self._known(tokens, order) + self.bias)
        if self.drop and self.training:
            # One mask for all heads: a third of the random numbers, and no worse.
            keep = (torch.rand(1, *first.shape[1:], device=first.device) >= self.drop).to(first.dtype)
            first = first * keep / (1 - self.drop)
        return first + F.relu(torch.baddbmm(self.inner_bias, first, self.inner))

    def _known(self, tokens: Tensor, order: Sequence[int]) -> Tensor:
        """What each head knows: (fields, rows, width)."""
        tables = self.tables + self.waves @ self.wave_in
        place = torch.empty(len(order), dtype=torch.long, device=tokens.device)
        place[torch.as_tensor(order, device=tokens.device)] = torch.arange(len(order), device=tokens.device)
        if self.shared:
            along = torch.as_tensor(order, device=tokens.device)
            seen = F.embedding(tokens[:, along], tables)
            before = F.pad(torch.cumsum(seen[:, :-1], dim=1), (0, 0, 1, 0))[:, place]
            return torch.bmm(before.transpose(0, 1), self.pick)
        before = (place[:, None] < place[None, :]).to(tables.dtype)
        open_to = tables.view(len(tables), len(order), self.width) * before[self.owner][:, :, None]
        summed = F.embedding_bag(tokens, open_to.view(len(tables), -1), mode="sum")
        return summed.view(len(tokens), len(order), self.width).transpose(0, 1)


def _waves(ranks: Sequence[float]) -> Tensor:
    """Cosines along the ranks: (tokens, WAVES), zero where there is no order."""
    at = np.array(ranks, dtype=np.float64)[:, None] * np.pi * np.arange(1, WAVES + 1)
    return torch.from_numpy(np.nan_to_num(np.cos(at)).astype(np.float32))


def _groups(fields: Fields) -> list[tuple[list[int], Tensor]]:
    """Fields of like size together: which, and the places of their tokens, (fields, size), one beyond the last for none."""
    out = []
    for power in sorted({(size - 1).bit_length() for size in fields.sizes}):
        group = [i for i, size in enumerate(fields.sizes) if (size - 1).bit_length() == power]
        along = torch.arange(max(fields.sizes[i] for i in group))
        starts, sizes = (torch.tensor([all_[i] for i in group])[:, None] for all_ in (fields.starts, fields.sizes))
        out.append((group, torch.where(along < sizes, starts + along, fields.tokens)))
    return out
