"""How is a pretrained denoiser trained further, and how does it draw in few evaluations?

One trainee for pixels and for latents: what differs is the function that asks the network. Losses count more where the
defect is (the idea of DefectFill, arXiv 2503.13985), and pictures of the prior count by their own weight (DreamBooth,
Ruiz et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from generators.image._backbone import made
from generators.image._loop import Hand, Look
from generators.image._noise import min_snr

#: (noisy (n, c, h, w), times (n,), labels (n,), the rows) -> what the network tells, (n, c, h, w).
Ask = Callable[[Tensor, Tensor, Tensor, Mapping[str, Tensor]], Tensor]
DROP = 0.1
#: Cap of the signal-to-noise ratio in the weight of a time.
GAMMA = 5.0


class Tune:
    """A `Trainee` of the loop. Rows: x (n, c, h, w), uint8 pictures or half latents; label (n,); weight (n, 1, h, w) uint8,
    255 where a pixel counts fully; worth (n,) float, of the whole row.

    ask: what the network tells; others: networks that it needs beside the trained parts, moved along to the device;
    drop: the label that stands for any class."""

    def __init__(
        self, parts: Mapping[str, nn.Module], ask: Ask, schedule: Any, *, lr: float, steps: int, drop: int,
        others: Sequence[nn.Module] = (), clean: Callable[[Tensor], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.parts: dict[str, nn.Module] = dict(parts)
        values = [p for part in self.parts.values() for p in part.parameters() if p.requires_grad]
        self.optimizers: dict[str, torch.optim.Optimizer] = {"all": torch.optim.AdamW(values, lr=lr, weight_decay=1e-2)}
        self.averaged = tuple(self.parts)
        self.ask, self.schedule, self.others, self.drop, self.lr, self.steps = ask, schedule, others, drop, lr, steps
        self.clean = clean or (lambda x: x.float())

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """One update at random times."""
        for other in self.others:
            other.to(hand.device)
        for group in self.optimizers["all"].param_groups:
            group["lr"] = self.lr * min(1.0, (hand.steps + 1) / max(1, min(50, self.steps // 10)))
        x = self.clean(batch["x"])
        noise, times = hand.randn(*x.shape), hand.randint(int(self.schedule.config.num_train_timesteps), len(x))
        label = torch.where(hand.rand(len(x)) < DROP, self.drop, batch["label"])
        with hand.autocast():
            told = self.ask(self.schedule.add_noise(x, noise, times), times, label, batch)
        off = (told.float() - self._wanted(x, noise, times)).square().mean(dim=1, keepdim=True)
        weight = batch["weight"].float() / 255.0
        each = (off * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1e-6) * self._trust(times)
        loss = (each * batch["worth"]).sum() / batch["worth"].sum().clamp(min=1e-6)
        hand.update("all", loss, clip=1.0)
        return {"loss": loss.detach()}

    def look(self, step: int, hand: Hand) -> Look:
        return Look()

    def memory(self) -> dict[str, Any]:
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        return None

    def _trust(self, times: Tensor) -> Tensor:
        """How much each time counts: times at which the picture is all but clear, less (Hang et al. 2023)."""
        kept = self.schedule.alphas_cumprod.to(times.device)[times]
        return min_snr(kept / (1 - kept), self.schedule.config.prediction_type, GAMMA)

    def _wanted(self, x: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        kind = self.schedule.config.prediction_type
        if kind == "v_prediction":
            return self.schedule.get_velocity(x, noise, times)  # type: ignore[no-any-return]
        return x if kind == "sample" else noise


@torch.no_grad()
def denoise(
    ask: Ask, schedule: Any, noise: Tensor, labels: Tensor, rows: Mapping[str, Tensor], *, evaluations: int, guidance: float,
    drop: int, clip: bool,
) -> Tensor:  # fmt: skip
    """Draw from noise with DPM-Solver++ of the second order: as noise.

    evaluations: of the network for each picture, guided ones counted twice; clip: whether pictures lie in [-1, 1].
    Source: Lu et al. 2022 (DPM-Solver++), as diffusers has it."""
    solver = made("DPMSolverMultistepScheduler").from_config(schedule.config, algorithm_type="dpmsolver++", solver_order=2)
    guided = guidance != 1.0
    solver.set_timesteps(max(2, evaluations // 2 if guided else evaluations), device=noise.device)
    now: Tensor = noise * solver.init_noise_sigma
    for time in solver.timesteps:
        times = time.expand(len(now))
        told = ask(now, times, labels, rows).float()
        if guided:
            plain = ask(now, times, torch.full_like(labels, drop), rows).float()
            told = plain + guidance * (told - plain)
        now = solver.step(told, time, now).prev_sample
    return now.clamp(-1, 1) if clip else now


def noise_like(shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal noise of a seed of its own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed % 2**63))
