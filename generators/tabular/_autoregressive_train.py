"""How does the network learn from rows of tokens, in the order in which they are drawn and in any other?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from generators.tabular._autoregressive_net import Fields, Net
from generators.tabular._density_train import Loop, Rules, seeded
from generators.tabular._table import rng_of


class Training(Loop[Net]):
    """Half of the steps, or another share of them, go through the fields in an order drawn at random.

    tokens: (n, fields) places among all tokens. order: that in which rows are drawn. any_order: share of steps in another."""

    def __init__(
        self, fields: Fields, width: int, drop: float, any_order: float, rules: Rules, tokens: Tensor, order: Sequence[int]
    ) -> None:
        self.order, self.classed, self.any_order = list(order), fields.classed, any_order
        with seeded(int(rng_of(rules.seed, 32).integers(2**31)), torch.device("cpu")):
            net = Net(fields, width, drop).to(tokens.device)
        label = None if self.classed is None else tokens[:, self.classed].cpu() - fields.starts[self.classed]
        super().__init__(net, [tokens], label, rules)

    def begin(self) -> None:
        self.net.begin(self.rows[0])

    def loss(self, dealt: Tensor) -> Tensor:
        """Rows of rare classes come more often; a field that is guessed before the class is known weighs them down again."""
        rng = rng_of(self.rules.seed, 33, self.done)
        order = rng.permutation(len(self.order)).tolist() if rng.random() < self.any_order else self.order
        with seeded(int(rng.integers(2**31)), self.device):
            losses = self.net.losses(self.rows[0][dealt.to(self.device)], order, each=True)
        if self.classed is None:
            return losses.mean(dim=1).sum()
        place = {field: k for k, field in enumerate(order)}
        known = torch.tensor([place[field] > place[self.classed] for field in range(len(order))], device=self.device)
        weight = (1.0 / self.turns[dealt]).to(self.device)
        even = weight / weight.mean()
        return torch.where(known, losses.mean(dim=1), (losses * even).mean(dim=1)).sum()

    def rate(self, rows: Sequence[Tensor]) -> Tensor:
        return self.average.losses(rows[0], self.order, each=True).sum(dim=0)
