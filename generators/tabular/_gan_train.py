"""How do generator and critic learn from each other, step by step, and go on after a kill as if nothing had been?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.encode_modes import Modes
from generators.base import GeneratorError
from generators.tabular._gan_nets import Critic, Generator, Layout, gumbel, heads, logits, whitening
from generators.tabular._location import Location

CHECKPOINT = "checkpoint.pt"
#: Rows of the linear start that are kept at hand, and the fewest of each level.
POOL, LEAST = 16_384, 64
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


class Rows:
    """Encoded rows that can be looked up by (condition column, level): the training side of training-by-sampling."""

    def __init__(self, matrix: Tensor, layout: Layout) -> None:
        self.matrix = matrix
        self.starts: list[Tensor] = []
        self.orders: list[Tensor] = []
        for _, a, b in layout.conditions:
            level = matrix[:, a:b].argmax(1).cpu()
            self.orders.append(torch.argsort(level, stable=True))
            self.starts.append(torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(level, minlength=b - a).cumsum(0)]))

    def count(self, column: int) -> Tensor:
        return self.starts[column].diff()

    def take(self, columns: Tensor, levels: Tensor, rng: torch.Generator) -> Tensor:
        """One row for each (column, level), drawn among those that hold it. (n,) -> (n, d)."""
        u = torch.rand(len(columns), generator=rng)
        out = torch.empty(len(columns), dtype=torch.long)
        for c in torch.unique(columns).tolist():
            at = columns == c
            first, last = self.starts[c][levels[at]], self.starts[c][levels[at] + 1]
            out[at] = self.orders[c][(first + (u[at] * (last - first)).long()).clamp(max=len(self.orders[c]) - 1)]
        return self.matrix[out.to(self.matrix.device)]

    def any(self, n: int, rng: torch.Generator) -> Tensor:
        return self.matrix[torch.randint(len(self.matrix), (n,), generator=rng).to(self.matrix.device)]


@dataclass
class Game:
    """Both networks, their optimisers and the moving average of the generator."""

    modes: Modes
    start: Location
    layout: Layout
    rules: Rules
    device: torch.device
    favourite: int
    done: int = 0
    nets: dict[str, Any] = field(default_factory=dict)

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

    def run_block(self) -> dict[str, float]:
        """One block of steps; its randomness depends on the seed and the block alone, so that it can be resumed."""
        block = self.done // self.rules.block
        seeds = np.random.SeedSequence([self.rules.seed % 2**63, 1, block]).generate_state(3, np.uint64)
        self.rng = torch.Generator().manual_seed(int(seeds[0] >> 1))
        self.noise = torch.Generator(self.device).manual_seed(int(seeds[1] >> 1))
        self.fake = Rows(self._pool(np.random.default_rng(int(seeds[2]))), self.layout)
        losses: list[Tensor] = []
        for _ in range(min(self.rules.block, self.rules.steps - self.done)):
            losses.append(self._step())
            self.done += 1
        critic, generator, asked = torch.stack(losses).mean(0).tolist()
        return {"critic": critic, "generator": generator, "condition": asked}

    def _pool(self, rng: np.random.Generator) -> Tensor:
        """Rows of the linear start, with at least LEAST of every level that can be a condition."""
        size = min(POOL, max(4 * len(self.real.matrix), 1024))
        parts = [self.start.draw(size, {}, rng)]
        for c, (place, a, b) in enumerate(self.layout.conditions):
            have = np.bincount(parts[0][0][:, place], minlength=b - a)
            parts += [
                self.start.draw(LEAST, {place: s}, rng) for s in range(b - a) if have[s] < LEAST and self.real.count(c)[s]
            ]
        states, values = (np.concatenate(x) for x in zip(*parts, strict=True))
        return torch.from_numpy(self.modes.encode(states, values)).to(self.device)

    def _ask(self, n: int) -> tuple[Tensor, Tensor]:
        """A condition for each row: column and level, the level by log-frequency (Xu et al. 2019, section 4.3).

        Half of them ask for the class, where there is one; rows of a pack share theirs, so that a collapse within a
        class shows."""
        packs = n // self.rules.pac
        columns = torch.randint(len(self.layout.conditions), (packs,), generator=self.rng)
        if self.favourite >= 0:
            columns = torch.where(torch.rand(packs, generator=self.rng) < 0.5, self.favourite, columns)
        levels = torch.zeros(packs, dtype=torch.long)
        for c in torch.unique(columns).tolist():
            at = columns == c
            weight = torch.log1p(self.real.count(c).double())
            levels[at] = torch.multinomial(weight, int(at.sum()), replacement=True, generator=self.rng)
        return columns.repeat_interleave(self.rules.pac), levels.repeat_interleave(self.rules.pac)

    def _vector(self, columns: Tensor, levels: Tensor) -> Tensor:
        """The condition vector, (n, c)."""
        offsets = torch.tensor([0, *np.cumsum([b - a for _, a, b in self.layout.conditions])[:-1].tolist()])
        out = torch.zeros(len(columns), self.layout.asked)
        out[torch.arange(len(columns)), offsets[columns] + levels] = 1
        return out.to(self.device)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """Real rows, rows of the linear start, condition vectors, and what they ask."""
        n = self.rules.batch
        if not self.layout.conditions:
            blank = torch.zeros(n, 0, device=self.device)
            return self.real.any(n, self.rng), self.fake.any(n, self.rng), blank, None
        asked = self._ask(n)
        return self.real.take(*asked, self.rng), self.fake.take(*asked, self.rng), self._vector(*asked), asked

    def _make(self, start: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """A row from the start, and the correction that made it."""
        noise = torch.randn(len(start), self.rules.latent, generator=self.noise, device=self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            correction = self.generator(start, noise, vector)
        correction = correction.float()
        return heads(self.layout, start, correction, gumbel(tuple(start.shape), self.noise)), correction

    def _seen(self, rows: Tensor, vector: Tensor) -> Tensor:
        values = self.layout.values(rows)
        return torch.cat([rows, values, values @ self.white, vector], dim=1)

    def _step(self) -> Tensor:
        for _ in range(self.rules.critic_steps):
            real, start, vector, _ = self._batch()
            with torch.no_grad():
                fake, _ = self._make(start, vector)
            critic_loss = self._critic_loss(self._seen(real, vector), self._seen(fake, vector), steep=self.done % LAZY == 0)
            self.for_critic.zero_grad(set_to_none=True)
            critic_loss.backward()  # type: ignore[no-untyped-call]
            self.for_critic.step()
        _, start, vector, asked = self._batch()
        fake, correction = self._make(start, vector)
        self.critic.requires_grad_(False)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = -self.critic(self._seen(fake, vector)).float().mean()
        self.critic.requires_grad_(True)
        missed = self._missed(start, correction, asked)
        self.for_generator.zero_grad(set_to_none=True)
        (loss + missed).backward()
        self.for_generator.step()
        self._follow()
        return torch.stack([critic_loss.detach(), loss.detach(), missed.detach()])

    def _critic_loss(self, real: Tensor, fake: Tensor, *, steep: bool) -> Tensor:
        """Wasserstein loss with gradient penalty (Gulrajani et al. 2017), the penalty on whole packs and in float32."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.device.type == "cuda"):
            gap = self.critic(fake).float().mean() - self.critic(real).float().mean()
        if not steep:
            return torch.as_tensor(gap)
        packs = len(real) // self.rules.pac
        mix = torch.rand(packs, 1, generator=self.noise, device=self.device).repeat_interleave(self.rules.pac, 0)
        between = (mix * real + (1 - mix) * fake).requires_grad_(True)
        slope = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)[0]
        return torch.as_tensor(gap + LAZY * self.rules.penalty * ((slope.reshape(packs, -1).norm(dim=1) - 1) ** 2).mean())

    def _missed(self, start: Tensor, correction: Tensor, asked: tuple[Tensor, Tensor] | None) -> Tensor:
        """Cross-entropy between what was asked for and what was made."""
        if asked is None:
            return correction.new_zeros(())
        raw = logits(self.layout, start, correction)
        columns, levels = (t.to(self.device) for t in asked)
        total = correction.new_zeros(())
        for c, (_, a, b) in enumerate(self.layout.conditions):
            at = torch.nonzero(columns == c)[:, 0]
            if len(at):
                total = total + torch.nn.functional.cross_entropy(raw[at, a:b], levels[at], reduction="sum")
        return total / len(columns)

    @torch.no_grad()
    def _follow(self) -> None:
        """Moving average of the generator; young averages forget faster."""
        keep = min(self.rules.ema, (1 + self.done) / (10 + self.done))
        for mean, now in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(now, 1 - keep)

    def state(self, mark: str) -> dict[str, Any]:
        """Everything a later process needs to go on; `mark` names data, settings and seed."""
        parts = ("generator", "critic", "average", "for_generator", "for_critic")
        return {"mark": mark, "done": self.done, **{name: getattr(self, name).state_dict() for name in parts}}

    def restore(self, state: dict[str, Any]) -> None:
        self.done = int(state["done"])
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
    """Train to the last step, keeping a checkpoint in `folder` every `seconds` and at the end.

    Raises GeneratorError when a loss is not a number any more."""
    if folder is not None and (state := _read(folder, mark, game.device)) is not None:
        game.restore(state)
    kept = time.monotonic()
    while game.done < game.rules.steps:
        losses = game.run_block()
        if not np.isfinite(list(losses.values())).all():
            raise GeneratorError(f"training diverged before {where(game.done)}: the loss is not a number; lower learning_rate")
        tell(game.done, losses)
        if folder is not None and (game.done >= game.rules.steps or time.monotonic() - kept >= seconds):
            _write(folder, game.state(mark))
            kept = time.monotonic()


def _read(folder: Path, mark: str, device: torch.device) -> dict[str, Any] | None:
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state if state.get("mark") == mark else None


def _write(folder: Path, state: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    beside = folder / (CHECKPOINT + ".part")
    torch.save(state, beside)
    beside.replace(folder / CHECKPOINT)
