"""How do generator and critic learn from each other, step by step, and go on after a kill as if nothing had been?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.encode_modes import Modes
from generators.base import GeneratorError
from generators.checkpoints import keep, recall
from generators.tabular._gan_nets import Critic, Generator, Layout, Moments, gumbel, heads, logits, whitening
from generators.tabular._gan_watch import Watch
from generators.tabular._location import Location

CHECKPOINT = "checkpoint.pt"
#: Rows of the linear start that are kept at hand, and the fewest of each level.
POOL, LEAST = 16_384, 64
#: Blocks that play with the same rows of the start.
DEALS = 4
#: The gradient penalty is taken every so many steps, with so many times its weight: half of the work is in it.
#: Source: Karras et al. 2020 (StyleGAN2, arXiv 1912.04958), section 3.1, lazy regularisation.
LAZY = 4


@dataclass(frozen=True)
class Rules:
    """How the game is played; see GAN for the meaning of each."""

    batch: int
    pac: int
    rate: float
    decay: float
    ema: float
    critic_steps: int
    penalty: float
    latent: int
    width: int
    steps: int
    block: int
    seed: int
    moments: float
    patience: int


class Rows:
    """Encoded rows that can be looked up by (condition column, level): the training side of training-by-sampling."""

    def __init__(self, matrix: Tensor, layout: Layout) -> None:
        self.matrix = matrix
        widest = max((b - a for _, a, b in layout.conditions), default=0)
        shape = (len(layout.conditions), widest)
        self.counts = torch.zeros(shape, dtype=torch.long)
        self.orders = torch.zeros((shape[0], len(matrix)), dtype=torch.int32)
        for c, (_, a, b) in enumerate(layout.conditions):
            level = matrix[:, a:b].argmax(1).cpu()
            self.orders[c] = torch.argsort(level, stable=True)
            self.counts[c, : b - a] = torch.bincount(level, minlength=b - a)
        self.starts = self.counts.cumsum(1) - self.counts

    def find(self, columns: Tensor, levels: Tensor, rng: torch.Generator) -> Tensor:
        """One row's place for each (column, level), drawn among those that hold it. (n,) -> (n,)."""
        u = torch.rand(columns.shape, generator=rng)
        place = self.starts[columns, levels] + (u * self.counts[columns, levels]).long()
        return self.orders[columns, place.clamp(max=len(self.matrix) - 1)].long()

    def any(self, n: int, rng: torch.Generator) -> Tensor:
        return torch.randint(len(self.matrix), (n,), generator=rng)


@dataclass(frozen=True)
class Hand:
    """What one round of the critic is dealt: places of real and start rows, and what they were asked for. (n,) each."""

    real: Tensor
    start: Tensor
    columns: Tensor
    levels: Tensor


@dataclass
class Game:
    """Both networks, their optimisers, the moving average of the generator, and the best average so far."""

    modes: Modes
    start: Location
    layout: Layout
    rules: Rules
    device: torch.device
    favourite: int
    done: int = 0
    dealt: int = -1

    def open(self, matrix: np.ndarray) -> None:
        """Build everything that `step` uses. Initial weights come from the seed; the global generator is left alone."""
        rules = self.rules
        self.layout = self.layout.to(self.device)
        self.real = Rows(torch.from_numpy(matrix).to(self.device), self.layout)
        self.white = whitening(self.layout.values(self.real.matrix).cpu()).to(self.device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(rules.seed % 2**63)
            self.generator = Generator(self.layout, rules.latent, rules.width).to(self.device)
            self.critic = Critic(self.layout, rules.width, rules.pac).to(self.device)
            self.average = Generator(self.layout, rules.latent, rules.width).to(self.device)
        self.average.load_state_dict(self.generator.state_dict())
        adam = {"lr": rules.rate, "betas": (0.5, 0.9), "weight_decay": rules.decay, "fused": True}
        self.for_generator = torch.optim.Adam(self.generator.parameters(), **adam)  # type: ignore[arg-type]
        self.for_critic = torch.optim.Adam(self.critic.parameters(), **adam)  # type: ignore[arg-type]
        self._index()
        self.moments = Moments(self.layout, self.real.matrix, *self._classes(), torch.Generator().manual_seed(7))
        self.watch = Watch(self.modes, self.start, matrix, np.random.default_rng([rules.seed % 2**63, 2]))
        self.best, self.kept, self.figure = self._copy(), 0, self.watch.start_figure

    def _index(self) -> None:
        """Lookups of the condition columns: where their features lie, how often a level is and how often it is asked."""
        spans = self.layout.conditions
        widths = [b - a for _, a, b in spans]
        self.offsets = torch.tensor([0, *np.cumsum(widths)[:-1].tolist()]) if spans else torch.zeros(0, dtype=torch.long)
        live = torch.arange(max(widths, default=0))[None] < torch.tensor(widths)[:, None] if spans else torch.zeros(0, 0)
        first = torch.tensor([a for _, a, _ in spans], dtype=torch.long)[:, None]
        self.block = torch.where(live, first + torch.arange(live.shape[1]), 0).to(self.device) if spans else live
        self.blank = torch.where(live, 0.0, -1e9).to(self.device) if spans else live
        # By log-frequency (Xu et al. 2019, section 4.3), so that rare levels are trained too.
        self.asking = torch.log1p(self.real.counts.double())
        self.asking = self.asking / self.asking.sum(1, keepdim=True)
        self.natural = (self.real.counts / max(len(self.real.matrix), 1) / self.asking.clamp(min=1e-12)).float()

    def _classes(self) -> tuple[Tensor, int]:
        """The class of every train row and the number of classes; one class where the data have none."""
        if self.favourite < 0:
            return torch.zeros(len(self.real.matrix), dtype=torch.long, device=self.device), 1
        _, a, b = self.layout.conditions[self.favourite]
        return self.real.matrix[:, a:b].argmax(1), b - a

    def run_block(self) -> dict[str, float]:
        """One block of steps; its randomness depends on the seed and the block alone, so that it can be resumed."""
        block = self.done // self.rules.block
        seeds = np.random.SeedSequence([self.rules.seed % 2**63, 1, block]).generate_state(2, np.uint64)
        rng = torch.Generator().manual_seed(int(seeds[0] >> 1))
        self.noise = torch.Generator(self.device).manual_seed(int(seeds[1] >> 1))
        if self.dealt != block // DEALS:
            self.dealt = block // DEALS
            self.fake = Rows(self._pool(np.random.default_rng([self.rules.seed % 2**63, 3, self.dealt])), self.layout)
        losses: list[Tensor] = []
        for _ in range(min(self.rules.block, self.rules.steps - self.done)):
            losses.append(self._step(self._deal(rng)))
            self.done += 1
        critic, generator, asked, moments = torch.stack(losses).mean(0).tolist()
        return {"critic": critic, "generator": generator, "condition": asked, "moments": moments}

    def look(self) -> float:
        """Keep the moving average if its rows are nearer to train than the best so far; the start is the first best."""
        figure = self.watch.figure(self._made)
        if figure < self.figure:
            self.best, self.kept, self.figure = self._copy(), self.done, figure
        return figure

    @property
    def stale(self) -> bool:
        """Whether `patience` blocks have brought nothing."""
        return self.done - self.kept >= self.rules.patience * self.rules.block

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.average.state_dict().items()}

    def _made(self, matrix: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
        """Rows of the average from start rows (n, d) asked to be of `labels` (n,): (n, d)."""
        noise = torch.Generator(self.device).manual_seed(seed)
        start = torch.from_numpy(matrix).to(self.device)
        columns = torch.full((len(start),), self.favourite)
        vector = self._vector(columns, torch.from_numpy(labels)) if self.favourite >= 0 else self._unasked(start)
        with torch.no_grad():
            latent = torch.randn(len(start), self.rules.latent, generator=noise, device=self.device)
            correction = self.average(start, latent, vector)
            raw = logits(self.layout, start, correction)
            return np.asarray(heads(self.layout, raw, start, correction, gumbel(tuple(start.shape), noise)).cpu().numpy())

    def _unasked(self, start: Tensor) -> Tensor:
        """Without a class: a column in turn, and the level that the start holds there."""
        count = len(self.layout.conditions)
        if not count:
            return torch.zeros(len(start), 0, device=self.device)
        columns = torch.arange(len(start)) % count
        block = self.block[columns.to(self.device)]
        levels = (start.gather(1, block) + self.blank[columns.to(self.device)]).argmax(1).cpu()
        return self._vector(columns, levels)

    def _pool(self, rng: np.random.Generator) -> Tensor:
        """Rows of the linear start, with at least LEAST of every level that can be a condition."""
        size = min(POOL, max(4 * len(self.real.matrix), 1024))
        parts = [self.start.draw(size, {}, rng)]
        for c, (place, a, b) in enumerate(self.layout.conditions):
            have = np.bincount(parts[0][0][:, place], minlength=b - a)
            parts += [
                self.start.draw(LEAST, {place: s}, rng) for s in range(b - a) if have[s] < LEAST and self.real.counts[c, s]
            ]
        states, values = (np.concatenate(x) for x in zip(*parts, strict=True))
        return torch.from_numpy(self.modes.encode(states, values)).to(self.device)

    def _deal(self, rng: torch.Generator) -> list[Hand]:
        """A hand for each round of the critic.

        Half of the packs ask for the class, where there is one; rows of a pack share theirs, so that a collapse within
        a class shows."""
        n = self.rules.batch * self.rules.critic_steps
        if not self.layout.conditions:
            none = torch.zeros(n, dtype=torch.long)
            whole = (self.real.any(n, rng), self.fake.any(n, rng), none, none)
        else:
            packs = n // self.rules.pac
            columns = torch.randint(len(self.layout.conditions), (packs,), generator=rng)
            if self.favourite >= 0:
                columns = torch.where(torch.rand(packs, generator=rng) < 0.5, self.favourite, columns)
            levels = torch.multinomial(self.asking[columns], 1, generator=rng)[:, 0]
            asked = (columns.repeat_interleave(self.rules.pac), levels.repeat_interleave(self.rules.pac))
            whole = (self.real.find(*asked, rng), self.fake.find(*asked, rng), *asked)
        rounds = [x.reshape(-1, self.rules.batch) for x in whole]
        return [Hand(*part) for part in zip(*rounds, strict=True)]

    def _vector(self, columns: Tensor, levels: Tensor) -> Tensor:
        """The condition vector, (n, c)."""
        out = torch.zeros(len(columns), self.layout.asked)
        if self.layout.conditions:
            out[torch.arange(len(columns)), self.offsets[columns] + levels] = 1
        return out.to(self.device)

    def _seen(self, rows: Tensor, vector: Tensor) -> Tensor:
        values = self.layout.values(rows)
        return torch.cat([rows, values, values @ self.white, vector], dim=1)

    def _step(self, hands: list[Hand]) -> Tensor:
        for hand in hands:
            vector = self._vector(hand.columns, hand.levels)
            # The last hand's rows serve the generator too: one pass through it for both.
            with torch.set_grad_enabled(hand is hands[-1]):
                fake, raw = self._make(self.fake.matrix[hand.start.to(self.device)], vector)
            real = self._seen(self.real.matrix[hand.real.to(self.device)], vector)
            seen = self._seen(fake, vector)
            critic_loss = self._critic_loss(real, seen.detach(), steep=self.done % LAZY == 0)
            self.for_critic.zero_grad(set_to_none=True)
            critic_loss.backward()  # type: ignore[no-untyped-call]
            self.for_critic.step()
        self.critic.requires_grad_(False)
        with self._half():
            loss = -self.critic(seen).float().mean()
        self.critic.requires_grad_(True)
        missed, off = self._missed(raw, hand), self._moments(fake, hand)
        self.for_generator.zero_grad(set_to_none=True)
        (loss + missed + self.rules.moments * off).backward()
        self.for_generator.step()
        self._follow()
        return torch.stack([critic_loss.detach(), loss.detach(), missed.detach(), off.detach()])

    def _half(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda")

    def _make(self, start: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """A row from the start, and the logits that made it."""
        noise = torch.randn(len(start), self.rules.latent, generator=self.noise, device=self.device)
        with self._half():
            correction = self.generator(start, noise, vector)
        correction = correction.float()
        raw = logits(self.layout, start, correction)
        return heads(self.layout, raw, start, correction, gumbel(tuple(start.shape), self.noise)), raw

    def _critic_loss(self, real: Tensor, fake: Tensor, *, steep: bool) -> Tensor:
        """Wasserstein loss with gradient penalty (Gulrajani et al. 2017), the penalty on whole packs and in float32."""
        with self._half():
            both = self.critic(torch.cat([fake, real])).float()
        packs = len(real) // self.rules.pac
        gap = both[:packs].mean() - both[packs:].mean()
        if not steep:
            return torch.as_tensor(gap)
        mix = torch.rand(packs, 1, generator=self.noise, device=self.device).repeat_interleave(self.rules.pac, 0)
        between = (mix * real + (1 - mix) * fake).requires_grad_(True)
        slope = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)[0]
        return torch.as_tensor(gap + LAZY * self.rules.penalty * ((slope.reshape(packs, -1).norm(dim=1) - 1) ** 2).mean())

    def _missed(self, raw: Tensor, hand: Hand) -> Tensor:
        """Cross-entropy between what was asked for and what was made."""
        if not self.layout.conditions:
            return raw.new_zeros(())
        columns = hand.columns.to(self.device)
        return torch.nn.functional.cross_entropy(
            raw.gather(1, self.block[columns]) + self.blank[columns], hand.levels.to(self.device)
        )

    def _moments(self, fake: Tensor, hand: Hand) -> Tensor:
        """How far the moments of the rows asked for a class are off; without a class, of all rows, weighed such that
        levels count as often as they are."""
        if self.favourite >= 0:
            at = torch.nonzero(hand.columns == self.favourite)[:, 0]
            if not len(at):
                return fake.new_zeros(())
            labels, weight = hand.levels[at], torch.ones(len(at))
            return self.moments.gap(fake[at.to(self.device)], labels.to(self.device), weight.to(self.device))
        weight = self.natural[hand.columns, hand.levels] if self.layout.conditions else torch.ones(len(fake))
        return self.moments.gap(fake, torch.zeros_like(hand.levels).to(self.device), weight.to(self.device))

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average of the generator; young averages forget faster."""
        keep = min(self.rules.ema, (1 + self.done) / (10 + self.done))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.generator.parameters()), 1 - keep)

    def state(self, mark: str) -> dict[str, Any]:
        """Everything a later process needs to go on; `mark` names data, settings and seed."""
        parts = ("generator", "critic", "average", "for_generator", "for_critic")
        best = {"best": self.best, "kept": self.kept, "figure": self.figure, "seen": self.moments.seen}
        return {"mark": mark, "done": self.done, **best, **{name: getattr(self, name).state_dict() for name in parts}}

    def restore(self, state: dict[str, Any]) -> None:
        self.done, self.kept, self.figure = int(state["done"]), int(state["kept"]), float(state["figure"])
        self.best, self.moments.seen = state["best"], state["seen"]
        for name in ("generator", "critic", "average", "for_generator", "for_critic"):
            getattr(self, name).load_state_dict(state[name])


def play(
    game: Game,
    tell: Callable[[int, dict[str, float]], None],
    *,
    where: Callable[[int], str],
    folder: Path | None,
    mark: str,
    seconds: float,
) -> None:
    """Train to the last step, or until the watch sees no gain any more; a checkpoint is kept in `folder` every
    `seconds` and at the end.

    Raises GeneratorError when a loss is not a number any more."""
    if folder is not None and (state := _read(folder, mark, game.device)) is not None:
        game.restore(state)
    kept = time.monotonic()
    while game.done < game.rules.steps and not game.stale:
        losses = game.run_block()
        if not np.isfinite(list(losses.values())).all():
            raise GeneratorError(f"training diverged before {where(game.done)}: the loss is not a number; lower learning_rate")
        tell(game.done, {**losses, "cells": game.look()})
        if folder is not None and (game.done >= game.rules.steps or game.stale or time.monotonic() - kept >= seconds):
            keep(folder / CHECKPOINT, game.state(mark))
            kept = time.monotonic()


def _read(folder: Path, mark: str, device: torch.device) -> dict[str, Any] | None:
    state: dict[str, Any] | None = recall(folder / CHECKPOINT, device=device)
    return state if state is not None and state.get("mark") == mark else None
