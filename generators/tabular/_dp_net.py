"""What comes next in a row, told by a network whose every layer has gradients of single rows?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray
#: Rounds in which the biases of a column are moved.
TUNED = 8
#: Logit of a token that is not drawn.
NEVER = -1e4
#: Cosines that neighbouring bins begin with.
WAVES = 8


class Block(nn.Module):
    """A layer beside a shortcut."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        """(rows, columns, width) to the same."""
        out: Tensor = h + self.narrow(torch.nn.functional.gelu(self.wide(self.norm(h))))
        return out


def _smooth(bins: int, width: int, generator: torch.Generator) -> Tensor:
    """(bins, width) numbers of unit size that change slowly from bin to bin: cosines with random weights, fewer of the fast."""
    if not bins:
        return torch.zeros((0, width))
    places = (torch.arange(bins) + 0.5) / bins
    waves = torch.arange(min(bins, WAVES))
    basis = torch.cos(torch.pi * places[:, None] * waves) / (1.0 + waves)
    out = basis @ torch.randn((len(waves), width), generator=generator)
    return out / out.std().clamp(min=1e-6) if out.numel() > 1 else out


class Net(nn.Module):
    """Chances of each column's tokens given those of the columns before it.

    What is known adds up: a vector for each token. sizes: tokens of each column, in the order in which they are drawn."""

    def __init__(self, sizes: Sequence[int], width: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.sizes, self.width = tuple(sizes), width
        self.tokens = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.place = nn.Embedding(len(sizes), width)
        self.blocks = nn.ModuleList(Block(width, hidden) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    def start(self, shares: Sequence[Array], seed: int, ordered: Sequence[int] | None = None) -> None:
        """Weights from the seed; each column begins as it is by itself, and neighbouring bins begin alike, as few rows of any
        one of them are seen through the noise. shares: chances of the tokens of each column; ordered: how many of them, the
        first ones, are in order."""
        generator = torch.Generator().manual_seed(seed % 2**63)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.dim() > 1:
                    scale = 0.3 if "tokens" in name or "place" in name else p.shape[-1] ** -0.5
                    p.copy_(torch.randn(p.shape, generator=generator) * scale)
                elif "norm" not in name:
                    p.zero_()
            for embed, head, share, several in zip(self.tokens, self.heads, shares, ordered or [0] * len(shares), strict=True):
                assert isinstance(head, nn.Linear) and isinstance(embed.weight, Tensor)
                for weight in (embed.weight, head.weight):
                    weight[:several] = _smooth(several, self.width, generator) * weight.std()
                head.weight.mul_(0.1)
                head.bias.copy_(torch.from_numpy(np.log(np.maximum(share, 1e-6))))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(rows, columns) tokens -> (rows, size) logits of each column given those before it."""
        known = torch.stack([embed(x[:, i]) for i, embed in enumerate(self.tokens)], dim=1)
        before = torch.cumsum(known, dim=1) - known
        # As long whatever the number of columns that are known.
        before = before / (1.0 + torch.arange(len(self.sizes), device=x.device)).sqrt()[:, None]
        places = torch.arange(len(self.sizes), device=x.device).expand(len(x), -1)
        h = before + self.place(places)
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        return [head(h[:, i]) for i, head in enumerate(self.heads)]

    def loss(self, x: Tensor) -> Tensor:
        """Nats of each row: (rows,)."""
        logits = self(x)
        each = [torch.nn.functional.cross_entropy(part, x[:, i], reduction="none") for i, part in enumerate(logits)]
        return torch.stack(each, dim=1).sum(dim=1)

    @torch.no_grad()
    def never(self, column: int, token: int) -> None:
        """A token of a column is drawn no more."""
        head = self.heads[column]
        assert isinstance(head, nn.Linear)
        head.weight[token], head.bias[token] = 0.0, NEVER

    @torch.no_grad()
    def tune(self, shares: Sequence[Array], n: int, generator: torch.Generator) -> None:
        """Move biases until drawn columns hold the tokens that counts say are there, column by column as they are drawn.

        Noise moves the bias of a rare token further than its few rows do; the noisy counts know better how rare it is, and have
        been paid for. shares: of each column; what cannot be told from noise there is 0, and left as it was learned."""
        known = torch.zeros((n, self.width))
        for i, (embed, head) in enumerate(zip(self.tokens, self.heads, strict=True)):
            assert isinstance(head, nn.Linear)
            logits, target = head(self._state(known, i)), torch.from_numpy(shares[i]).float()
            clear = target > 0
            for _ in range(TUNED):
                mean = torch.softmax(logits, dim=1).mean(dim=0)
                # What is not clear keeps the part that it has.
                wanted = target * (1 - mean[~clear].sum())
                move = torch.where(clear, torch.log(wanted.clamp(min=1e-9) / mean.clamp(min=1e-9)), torch.zeros_like(mean))
                head.bias.add_(move)
                logits = logits + move
            drawn = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
            known = known + embed(drawn)

    def _state(self, known: Tensor, column: int) -> Tensor:
        """What the network makes of the sum of what is known before a column: (rows, width)."""
        h = known / (1.0 + column) ** 0.5 + self.place.weight[column]
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.norm(h)
        return out

    @torch.no_grad()
    def draw(self, n: int, given: dict[int, int], generator: torch.Generator) -> Tensor:
        """(n, columns) tokens; given: tokens of columns that are set: exact where they come first."""
        out = torch.zeros((n, len(self.sizes)), dtype=torch.long)
        sum_ = torch.zeros((n, self.width))
        for i, (embed, head) in enumerate(zip(self.tokens, self.heads, strict=True)):
            if i in given:
                out[:, i] = given[i]
            else:
                chances = torch.softmax(head(self._state(sum_, i)), dim=1)
                out[:, i] = torch.multinomial(chances, 1, generator=generator)[:, 0]
            sum_ += embed(out[:, i])
        return out
