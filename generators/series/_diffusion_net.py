"""Which window is it, told the noise around it, its class and attributes, and perhaps some of its readings?"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.series._diffusion_prior import Prior, rates
from generators.series._planes import Layout, Told
from generators.tabular._density_train import Density

#: Share of windows whose class and attributes are hidden, and of those some of whose readings are shown, while training.
HIDDEN, SHOWN = 0.1, 0.3
#: Most and least noise: times along the schedule.
LAST, FIRST = 0.99, 0.01
#: How much closer times lie where there is little noise: sensors' own noise is a few hundredths of what they read.
WARP = 1.5
WAVES = 8
#: Heads of attention.
HEADS = 4


class Block(nn.Module):
    """(n, from, t) -> (n, to, t): a residual layer that what is told scales and shifts."""

    def __init__(self, into: int, out: int, told: int, drop: float, stretch: int = 1) -> None:
        super().__init__()
        self.norm, self.first = nn.GroupNorm(math.gcd(8, into), into), nn.Conv1d(into, out, 3, padding=1)
        self.told, self.mid = nn.Linear(told, 2 * out), nn.GroupNorm(math.gcd(8, out), out)
        self.last = nn.Conv1d(out, out, 3, padding=stretch, dilation=stretch)
        self.past = nn.Conv1d(into, out, 1) if into != out else nn.Identity()
        self.drop = nn.Dropout(drop)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None].chunk(2, dim=1)
        h = self.mid(self.first(F.silu(self.norm(x)))) * (1 + scale) + shift
        out: Tensor = self.past(x) + self.last(self.drop(F.silu(h)))
        return out


class Attention(nn.Module):
    """(n, width, t) -> the same: each place looks at all others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.all = nn.GroupNorm(math.gcd(8, width), width), nn.Conv1d(width, 3 * width, 1)
        self.out = nn.Conv1d(width, width, 1)
        self.heads = math.gcd(HEADS, width)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, width, t = x.shape
        q, k, v = self.all(self.norm(x)).view(n, 3, self.heads, width // self.heads, t).transpose(3, 4).unbind(1)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, width, t)
        out: Tensor = x + self.out(seen)
        return out


class UNet(nn.Module):
    """(n, planes in, side), (n, told) -> (n, planes out, side): as in Ho et al. 2020, along time."""

    def __init__(self, into: int, out: int, halvings: int, width: int, told: int, drop: float) -> None:
        super().__init__()
        wide = [width, *[2 * width] * halvings]
        self.enter = nn.Conv1d(into, width, 5, padding=2)
        self.down = nn.ModuleList(Block(w, w, told, drop) for w in wide)
        self.coarser = nn.ModuleList(nn.Conv1d(a, b, 4, 2, 1) for a, b in zip(wide, wide[1:], strict=False))
        self.look, self.middle = Attention(wide[-1]), Block(wide[-1], wide[-1], told, drop, 2)
        self.finer = nn.ModuleList(nn.Conv1d(b, a, 3, padding=1) for a, b in zip(wide, wide[1:], strict=False))
        self.up = nn.ModuleList(Block(2 * w, w, told, drop) for w in wide)
        self.leave = nn.Sequential(nn.GroupNorm(math.gcd(8, width), width), nn.SiLU(), nn.Conv1d(width, out, 5, padding=2))
        nn.init.zeros_(self.leave[2].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        h, kept = self.enter(x), []
        for i, block in enumerate(self.down):
            h = block(h, told)
            kept.append(h)
            if i < len(self.coarser):
                h = self.coarser[i](h)
        h = self.middle(self.look(h), told)
        for i in reversed(range(len(self.up))):
            h = self.up[i](torch.cat([h, kept[i]], dim=1), told)
            if i:
                h = self.finer[i - 1](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        out: Tensor = self.leave(h)
        return out


class Net(Density):
    """Denoises planes. Some readings may be shown as they are: then the others are drawn to go with them.

    Sources: Ho et al. 2020 (arXiv 2006.11239); Salimans and Ho 2022 (arXiv 2202.00512), the error weighed about as in
    v-prediction; Ho and Salimans 2022 (arXiv 2207.12598), guidance; Tashiro et al. 2021 (CSDI, arXiv 2107.03502), readings that
    are shown while training. Levels are planes of zeros and a one, as numbers (Chen et al. 2023, Analog Bits)."""

    def __init__(self, layout: Layout, classes: int, width: int, drop: float) -> None:
        super().__init__()
        self.layout, self.classes = layout, classes
        self.prior = Prior(layout.planes, layout.side, classes)
        told = 4 * width
        self.time = nn.Sequential(nn.Linear(2 * WAVES, told), nn.SiLU(), nn.Linear(told, told))
        self.told = Told(layout.about + 1, told)
        self.unet = UNet(2 * layout.planes + 2 * len(layout.counts) + 1, layout.planes, layout.halvings, width, told, drop)

    def begin_from(self, *rows: Tensor) -> None:
        x, known, _, labels = rows
        self.prior.learn(x, known, labels)

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """Squared error by how large it may be, the mean over the readings of each window that are asked: (n,).

        rows: (n, planes, side), the same bool, (n, d), (n,)."""
        x, known, about, labels = rows
        n = len(x)
        clean = self.prior.scaled(x, known)
        t = (torch.randperm(n, device=x.device) + torch.rand(n, device=x.device)) / n
        t = times(t)
        alpha, sigma = rates(t)
        noise = torch.randn_like(clean) * known
        shown = some_shown(known, self.layout) & known
        none = torch.rand(n, device=x.device) < HIDDEN
        noisy = alpha[:, None, None] * clean + sigma[:, None, None] * noise
        guess, unsure = self.clean(noisy, t, about, labels, none, known, shown, clean)
        asked = known & ~shown
        error = ((guess - clean) / unsure).square() * asked
        return error.sum(dim=(1, 2)) / asked.sum(dim=(1, 2)).clamp(min=1)

    def clean(
        self, noisy: Tensor, t: Tensor, about: Tensor, labels: Tensor, none: Tensor, there: Tensor, shown: Tensor,
        given: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The clean planes of noisy ones, and how far off a guess without the network is.

        t: (n,) times; none: (n,) bool, whether class and attributes are hidden; there: which places there are; shown: those
        whose readings are those of `given`, in the scale of the network; both (n, planes, side) bool."""
        which = torch.where(none, self.classes, labels)
        first, unsure = self.prior.guess(noisy, t, which)
        seen = torch.where(shown, given, noisy)
        channel = self.layout.first
        at = torch.linspace(-1, 1, noisy.shape[2], device=noisy.device).expand(len(noisy), 1, -1)
        planes = torch.cat([seen, first, there[:, channel].float(), shown[:, channel].float(), at], dim=1)
        hide = none[:, None].float()
        told = F.silu(self.time(_waves(*rates(t))) + self.told(torch.cat([about * (1 - hide), hide], dim=1)))
        return (first + unsure * self.unet(planes, told)) * there, unsure


def times(even: Tensor) -> Tensor:
    """Times along the schedule of numbers spread evenly over 0 to 1: closer together where there is little noise."""
    return FIRST + even**WARP * (LAST - FIRST)


def some_shown(known: Tensor, layout: Layout) -> Tensor:
    """Readings that are shown in some windows: a beginning, all but a stretch, scattered ones, or some channels alone."""
    n, _, side = known.shape
    kind, share, start = (torch.rand(n, 1, 1, device=known.device) for _ in range(3))
    some = torch.rand(n, 1, 1, device=known.device) < SHOWN
    at = torch.linspace(0, 1, side, device=known.device)[None, None]
    scattered, channel = (torch.rand(n, len(layout.counts), t, device=known.device) < share for t in (side, 1))
    begin = start * (1 - share)
    stretch = ((at < begin) | (at > begin + share)).expand(n, len(layout.counts), side)
    out = torch.where(kind < 0.25, (at < share).expand_as(stretch), torch.where(kind < 0.6, stretch, scattered))
    out = torch.where(kind > 0.85, channel.expand_as(stretch), out) & some
    counts = torch.tensor([count or 1 for count in layout.counts], device=known.device)
    return torch.repeat_interleave(out, counts, dim=1)


def _waves(alpha: Tensor, sigma: Tensor) -> Tensor:
    """How much noise there is, as waves along its logarithm: (n,) -> (n, 2 WAVES)."""
    level = torch.log(alpha / sigma)[:, None] * (2.0 ** torch.arange(WAVES, device=alpha.device) / 16)
    return torch.cat([level.sin(), level.cos()], dim=1)


@torch.no_grad()
def draw(net: Net, asked: tuple[Tensor, ...], steps: int, guidance: float, chance: torch.Generator) -> Tensor:
    """Planes (n, planes, side) in the scale of the readings.

    asked: about, labels, none, there, shown and given of `Net.clean`, but `given` in the scale of the readings too; what is
    shown of it is kept.  Source: Lu et al. 2022 (DPM-Solver++, arXiv 2211.01095), algorithm 2, in the steps of `times`."""
    about, labels, none, there, shown, given = asked
    known = net.prior.scaled(given, shown)
    n, device = len(there), there.device
    steady = torch.randn(there.shape, generator=chance, device=there.device) * there
    x, before, gap = steady, None, 0.0
    course = times(torch.linspace(1, 0, steps))
    hidden = torch.ones_like(none)
    for i, t in enumerate(course):
        at, (alpha, sigma) = t.to(device).expand(n), rates(t)
        # What is shown goes under the noise that it would have had.
        noisy = torch.where(shown, alpha * known + sigma * steady, x)
        clean = net.clean(noisy, at, about, labels, none, there, shown, known)[0]
        if guidance != 1.0:
            free = net.clean(noisy, at, about, labels, hidden, there, shown, known)[0]
            clean = free + guidance * (clean - free)
        if i == steps - 1:
            x = clean
            break
        after = rates(course[i + 1])
        step = float(torch.log(after[0] / after[1]) - torch.log(alpha / sigma))
        ahead = clean if before is None else clean + (clean - before) * (0.5 * step / gap)
        x = float(after[1] / sigma) * noisy - float(after[0]) * math.expm1(-step) * ahead
        before, gap = clean, step
    return net.prior.unscaled(torch.where(shown, known, x))
