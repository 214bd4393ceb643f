"""How is a picture turned to noise, what does a denoiser learn from that, and how is the way back walked in few steps?

One process for all objectives and samplers: z = cos(a) x + sin(a) noise, where the level l in (0, 1) gives the angle
a = l pi / 2. What is asked of the network is the clean picture, and an objective is the terms in which its error is measured,
so whatever was learned can be sampled in any way. The samplers are schedulers of diffusers: each is given, as its whole
training schedule, exactly the levels that are walked, so that no step is rounded to a schedule that nobody trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

Objective = Literal["epsilon", "v", "flow"]
Sampler = Literal["dpm++", "ddim", "ddpm", "flow"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
SAMPLERS: tuple[str, ...] = get_args(Sampler)
#: What the libraries call the objectives.
ALIASES = {"v_prediction": "v", "flow_prediction": "flow", "flow_matching": "flow"}
RHO = 7
#: (noisy (n, c, h, w), level) -> clean (n, c, h, w).
Denoise = Callable[[Tensor, float], Tensor]


def rates(level: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of picture and noise at levels (n,): two of (n, 1, 1, 1)."""
    angle = (level * (math.pi / 2)).view(-1, 1, 1, 1)
    return torch.cos(angle), torch.sin(angle)


def level_of(ratio: float) -> float:
    """The level at which there is `ratio` times as much noise as picture."""
    return math.atan(ratio) * 2 / math.pi


def noised(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Pictures (n, c, h, w) with as much noise as levels (n,) say."""
    alpha, sigma = rates(level)
    return alpha * clean + sigma * noise


def target(objective: Objective, clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """What a network is to say of `noised(clean, noise, level)`: the noise, v = alpha noise - sigma clean (Salimans and Ho
    2022), or the velocity noise - clean of a straight flow (Lipman et al. 2023)."""
    alpha, sigma = rates(level)
    if objective == "epsilon":
        return noise
    return alpha * noise - sigma * clean if objective == "v" else noise - clean


def terms(objective: Objective, level: Tensor) -> Tensor:
    """How much an error of the clean picture counts in what `target` is of it, at levels (n,): (n, 1, 1, 1)."""
    alpha, sigma = rates(level)
    return {"epsilon": alpha, "v": torch.ones_like(alpha), "flow": alpha + sigma}[objective] / sigma


def min_snr(snr: Tensor, objective: str, gamma: float) -> Tensor:
    """Weight of the squared error at signal-to-noise ratios alpha^2 / sigma^2, of any shape.

    Weights the error of the clean picture by min(snr, gamma), whatever the objective: "epsilon", "v", "flow", "sample", or
    as the libraries call them.  Source: Hang et al. 2023, section 3.4."""
    kind = ALIASES.get(objective, objective)
    capped = snr.clamp(max=gamma)
    if kind == "epsilon":
        return capped / snr.clamp(min=1e-8)
    if kind == "v":
        return capped / (snr + 1)
    # One step of the velocity moves the clean picture by sigma / (alpha + sigma).
    return capped / (snr.sqrt() + 1).square() if kind == "flow" else capped


def snr(level: Tensor) -> Tensor:
    """Signal-to-noise ratio at levels of any shape."""
    return torch.tan(level * (math.pi / 2)).square().clamp(min=1e-12).reciprocal()


def spread_levels(uniform: Tensor, objective: Objective, least: float, most: float) -> Tensor:
    """Levels to train at, from uniform numbers (n,) in [0, 1): even in the angle, for "flow" most often in the middle.

    The numbers are first put one into each of n even pieces: a batch sees all levels, so the loss varies less (Kingma et
    al. 2021, VDM). "flow": the logit of the level is normal (Esser et al. 2024)."""
    even = (torch.arange(len(uniform), device=uniform.device) + uniform) / len(uniform)
    if objective == "flow":
        even = torch.sigmoid(torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)))
    return least + (most - least) * even


def walk(steps: int, least: float, most: float) -> list[float]:
    """The levels at which the network is asked, `most` first, `least` last, closer where there is little noise.

    Source: Karras et al. 2022 (EDM), equation 5, with rho = 7. With "dpm++" and an exact denoiser ten of them keep the
    spread of data that vary .1 to 10 times as much as the noise within 8 %."""
    low, high = (math.tan(level * math.pi / 2) ** (1 / RHO) for level in (least, most))
    return [level_of((high + place / max(1, steps - 1) * (low - high)) ** RHO) for place in range(steps)]


def sampled(
    denoise: Denoise, start: Tensor, levels: Sequence[float], sampler: Sampler, generators: Sequence[torch.Generator]
) -> Tensor:
    """Walk from `start` (n, c, h, w), noisy as the first of `levels` says, to clean pictures, asking `denoise` once a level.

    generators: one for each picture, so that none depends on which others are drawn beside it; used by "ddpm" alone."""
    solver = _scheduler(sampler, levels)
    now = start
    for place, level in enumerate(levels):
        clean = denoise(now, level)
        if sampler == "flow":
            now = _straight(solver, place, now, clean, levels)
        else:
            # The only noise is drawn from the pictures' own generators.
            how = {"generator": list(generators)} if sampler == "ddpm" else {}
            now = solver.step(clean, solver.timesteps[place], now, **how).prev_sample
    return now


def _straight(solver: Any, place: int, now: Tensor, clean: Tensor, levels: Sequence[float]) -> Tensor:
    """One step of the flow, in its own scale x (1 - t) + noise t and back."""
    alpha, sigma = _pair(levels[place])
    straight = now / (alpha + sigma)
    velocity = (now - (alpha + sigma) * clean) / sigma
    moved = solver.step(velocity, solver.timesteps[place], straight).prev_sample
    following = levels[place + 1] if place + 1 < len(levels) else 0.0
    return torch.as_tensor(moved * sum(_pair(following)))


def _pair(level: float) -> tuple[float, float]:
    return math.cos(level * math.pi / 2), math.sin(level * math.pi / 2)


def _scheduler(sampler: Sampler, levels: Sequence[float]) -> Any:
    """A scheduler of diffusers whose training schedule is these levels, no more and no fewer."""
    import diffusers as library

    diffusers: Any = library  # its classes are untyped
    n = len(levels)
    solver: Any
    if sampler == "flow":
        solver = diffusers.FlowMatchEulerDiscreteScheduler()
        solver.set_timesteps(sigmas=[sigma / (alpha + sigma) for alpha, sigma in map(_pair, levels)])
        return solver
    kept = [_pair(level)[0] ** 2 for level in reversed(levels)]
    betas = [1 - now / before for before, now in zip([1.0, *kept[:-1]], kept, strict=True)]
    common = {"num_train_timesteps": n, "trained_betas": betas, "prediction_type": "sample", "timestep_spacing": "trailing"}
    if sampler == "dpm++":
        solver = diffusers.DPMSolverMultistepScheduler(**common, algorithm_type="dpmsolver++", solver_order=2)
    elif sampler == "ddim":
        solver = diffusers.DDIMScheduler(**common, clip_sample=False)
    else:
        solver = diffusers.DDPMScheduler(**common, clip_sample=False)
    solver.set_timesteps(n)
    return solver
