"""What comes next in a window, by all that came before it? Dilated causal convolutions, and a queue of their past to draw with.

Sources: van den Oord et al. 2016 (WaveNet: gates, dilations, what is known beside); Salimans et al. 2017 (a mixture of
logistics, rounded as readings are); Paine et al. 2016 (what a layer saw is kept, so that a reading costs one small step)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generators.series._planes import Layout, Told
from generators.tabular._density_train import Density

#: Logistics in the mixture of a channel of numbers; the least logarithm of their width, in spreads of the channel.
MIXED, NARROW = 5, -6.0
#: Readings for which the spread of a whole channel counts beside those so far; spreads at which a reading is no farther off.
FIRST, FAR = 0.1, 5.0
#: Readings of a crop on which a step is made, where windows are longer.
CROP = 1024
#: Waves that tell where in the window a reading stands.
PLACES = 6
#: Uniform numbers stay this far from 0 and 1, so that no reading is drawn from beyond what was ever seen.
EDGE = 1e-4
#: What a layer hands on is scaled by; moments ahead for which a queue knows what their places say.
HALF, AHEAD = math.sqrt(0.5), 256


@dataclass(frozen=True)
class Rounded:
    """How the readings of each plane of numbers come: steps, the step between two of them in spreads of the plane, 0 where they
    have all their digits; least, most: what is drawn stays between them, in the same unit."""

    steps: tuple[float, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]


class Layer(nn.Module):
    """A gated causal convolution of two taps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.taps = nn.Linear(2 * width, 2 * width)
        self.out = nn.Linear(width, 2 * width)

    def forward(self, past: Tensor, now: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """past, now (..., width): what the layer saw at its other tap, and sees; told (..., 2 width): what is known beside.
        What the next layer sees, and what goes into the answer."""
        a, b = (self.taps(torch.cat([past, now], dim=-1)) + told).chunk(2, dim=-1)
        on, skip = self.out(torch.tanh(a) * torch.sigmoid(b)).chunk(2, dim=-1)
        return (now + on) * HALF, skip


class Head(nn.Module):
    """What one channel reads, given the answer of the layers and the channels before it at the same moment."""

    def __init__(self, width: int, before: int, out: int) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(width + before, width), nn.Linear(width, out)

    def forward(self, answer: Tensor, before: Tensor) -> Tensor:
        out: Tensor = self.leave(F.silu(self.enter(torch.cat([answer, before], dim=-1))))
        return out


class Net(Density):
    """The density of windows, reading by reading and channel by channel."""

    def __init__(self, layout: Layout, rounded: Rounded, width: int, layers: int, most: int, dropout: float) -> None:
        """layers: of them each doubles the reach of the one before, up to `most` readings apart, then they begin anew."""
        super().__init__()
        self.layout, self.rounded, self.width, self.dropout = layout, rounded, width, dropout
        self.enter = nn.Linear(5 * layout.planes + 2 * PLACES + 1, width)
        doublings = max(1, int(math.log2(most)))
        # How far apart the taps of each layer are.
        self.apart = [2 ** (i % doublings) for i in range(layers)]
        self.layers = nn.ModuleList(Layer(width) for _ in range(layers))
        self.told = nn.ModuleList(Told(layout.about, 2 * width) for _ in range(layers))
        ends = [*layout.first[1:], layout.planes]
        self.spans = list(zip(layout.counts, layout.first, ends, strict=True))
        self.heads = nn.ModuleList(Head(width, 2 * a, count or 4 * MIXED) for count, a, _ in self.spans)

    def losses(self, *rows: Tensor, done: float) -> Tensor:
        """Nats a reading of each window: (n,). rows: planes (n, planes, t), which are known, and what is asked (n, d)."""
        x, known, about = rows
        x, known, first = self._cropped(x.movedim(1, 2), known.movedim(1, 2))
        nats = self.nats(x, known, about, first, torch.is_grad_enabled())
        there = torch.stack([known[..., a] for _, a, _ in self.spans], dim=-1).float()
        return nats.sum(dim=(1, 2)) / there.sum(dim=(1, 2)).clamp(min=1)

    def nats(self, x: Tensor, known: Tensor, about: Tensor, first: Tensor, learning: bool = False) -> Tensor:
        """Nats of each reading, 0 for one that is not known: (n, t, channels). x, known (n, t, planes); first (n,): where in
        the window the first of these readings stands."""
        n, t, _ = x.shape
        seen = F.pad(x * known, (0, 0, 1, 0))[:, :t]
        was = F.pad(known.float(), (0, 0, 1, 0))[:, :t]
        answer, usual, spread = self.answers(seen, was, about, first, learning)
        off = away(x, usual, spread) * known
        out = []
        for head, (count, a, b) in zip(self.heads, self.spans, strict=True):
            said = head(answer, torch.cat([x[..., :a] * known[..., :a], off[..., :a]], dim=-1))
            if count:
                each = -(F.log_softmax(said, dim=-1) * x[..., a:b]).sum(dim=-1)
            else:
                each = -self._log_density(said, x[..., a], (seen[..., a], usual[..., a], spread[..., a]), a)
            out.append(each * known[..., a])
        return torch.stack(out, dim=-1)

    def answers(
        self, seen: Tensor, was: Tensor, about: Tensor, first: Tensor, learning: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the layers say of each moment, (n, t, width), and mean and deviation of all before it, (n, t, planes).

        seen, was: (n, t, planes) the readings of the moment before each, and which of them are known."""
        t = seen.shape[1]
        usual, spread = past_of(seen.cumsum(dim=1), seen.square().cumsum(dim=1), was.cumsum(dim=1))
        off = away(seen, usual, spread) * was
        now = self.enter(torch.cat([seen, was, usual, spread.log(), off, self._places(first, t)], dim=-1))
        answer = torch.zeros_like(now)
        for layer, told, apart in zip(self.layers, self.told, self.apart, strict=True):
            past = F.pad(now, (0, 0, apart, 0))[:, :t]
            now, skip = layer(past, F.dropout(now, self.dropout, learning), told(about)[:, None])
            answer = answer + skip
        return F.silu(answer), usual, spread

    def begin(self, n: int, about: Tensor) -> Queue:
        """A queue with nothing in it, for n windows of which this is known."""
        return Queue(self, n, [told(about) for told in self.told])

    def _log_density(self, said: Tensor, x: Tensor, past: tuple[Tensor, Tensor, Tensor], a: int) -> Tensor:
        weights, middle, width = self.mixture(said, *past)
        z, step = x[..., None], self._step(a)
        if step:
            upper, lower = (z + step / 2 - middle) / width.exp(), (z - step / 2 - middle) / width.exp()
            # The logarithm of the chance between the two, for each where it is not lost: Salimans' way.
            mass = (torch.sigmoid(upper) - torch.sigmoid(lower)).clamp(min=1e-12).log()
            core = (z - middle) / width.exp()
            thin = math.log(step) - width - core - 2 * F.softplus(-core)
            each = torch.where(torch.sigmoid(upper) - torch.sigmoid(lower) > 1e-5, mass, thin) - math.log(step)
        else:
            core = (z - middle) / width.exp()
            each = -core - width - 2 * F.softplus(-core)
        return torch.logsumexp(weights + each, dim=-1)

    def mixture(self, said: Tensor, last: Tensor, usual: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logarithms of the weights, middles and logarithms of the widths of the logistics: (..., MIXED) each.

        Each lies between the last reading and the mean of all so far, and off that by what the head says, in the spread of all
        so far: else what is a little wrong adds up, a level drifts away, and what is quiet gets the noise of what is loud."""
        weights, middle, width, stays = said.chunk(4, dim=-1)
        share = torch.sigmoid(stays + 1.0)
        middle = middle * spread[..., None] + share * last[..., None] + (1 - share) * usual[..., None]
        width = width.clamp(min=-4.0, max=3.0) + spread.log()[..., None]
        return F.log_softmax(weights, dim=-1), middle, width.clamp(min=NARROW)

    def _step(self, a: int) -> float:
        return self.rounded.steps[self.layout.numbers.index(a)]

    def _places(self, first: Tensor, t: int) -> Tensor:
        """Where readings stand in the window: (n, t, 2 PLACES + 1)."""
        at = (first[:, None] + torch.arange(t, device=first.device)) / max(self.layout.longest, 1)
        waves = at[..., None] * math.pi * 2.0 ** torch.arange(PLACES, device=first.device)
        return torch.cat([at[..., None], waves.sin(), waves.cos()], dim=-1)

    def _cropped(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n, t, _ = x.shape
        if t <= CROP:
            return x, known, torch.zeros(n, device=x.device)
        # A window that is shorter than the longest has nothing behind its end.
        ends = known.any(dim=2).long().mul(torch.arange(1, t + 1, device=x.device)).amax(dim=1)
        first = (torch.rand(n, device=x.device) * (ends - CROP + 1).clamp(min=1)).long()
        places = (first[:, None] + torch.arange(CROP, device=x.device))[..., None].expand(-1, -1, x.shape[2])
        return x.gather(1, places), known.gather(1, places), first.float()


class Queue:
    """Windows that are drawn reading by reading: of each layer what it saw as far back as it looks.

    A step is few products into buffers that are there: what does not change is added up beforehand. The gate is written by
    tanh alone, sigmoid(b) = (1 + tanh(b / 2)) / 2, and what the biases add from layer to layer, the same at every moment,
    is left out of what is kept and counted among what is told."""

    def __init__(self, net: Net, n: int, told: list[Tensor]) -> None:
        self.net, self.at, self.rows = net, 0, n
        device, w, planes = net.enter.weight.device, net.width, net.layout.planes
        self._fold(told)
        self.both = torch.empty(len(net.layers), n, 2 * w, device=device)
        self.seen = torch.empty(len(net.layers), n, w, device=device)
        self.gated = torch.empty(n, len(net.layers) * w, device=device)
        self.gates = [self.gated[:, i * w : (i + 1) * w] for i in range(len(net.layers))]
        # Before a window begins a layer sees nothing, not its biases: that is what stands for zero here.
        self.past = [
            list((-own).expand(apart, n, w).contiguous().unbind()) for apart, own in zip(net.apart, self.biases, strict=True)
        ]
        self.sums, self.squares = (torch.zeros(n, planes, device=device) for _ in range(2))
        self.features = torch.zeros(n, 5 * planes, device=device)
        self.views = self.features.chunk(5, dim=1)
        self.first = torch.zeros(1, device=device)

    def _fold(self, told: list[Tensor]) -> None:
        """The weights as a step takes them: turned, halved where a gate is, and with what is told and the biases added up."""
        net = self.net
        w, planes = net.width, net.layout.planes
        entering = net.enter.weight.detach()
        self.entering, self.placing = entering[:, : 5 * planes].t().contiguous(), entering[:, 5 * planes :].t().contiguous()
        gate = torch.cat([torch.ones(w), torch.full((w,), 0.5)]).to(entering.device)
        self.biases, own = [], torch.zeros(w, device=entering.device)
        beside, before, self.here, self.on, skip = [], [], [], [], []
        self.skip_bias = torch.zeros_like(own)
        for layer, known in zip(cast(Iterable[Layer], net.layers), told, strict=True):
            taps, out, bias = layer.taps.weight.detach().t(), layer.out.weight.detach().t(), layer.out.bias.detach()
            self.biases.append(own)
            beside.append((layer.taps.bias.detach() + known.detach() + own @ taps[:w] + own @ taps[w:]) * gate)
            before.append(taps[:w] * gate)
            self.here.append((taps[w:] * gate).contiguous())
            self.on.append((out[:, :w] * 0.5).contiguous())
            skip.append(out[:, w:] * 0.5)
            self.skip_bias = self.skip_bias + bias[w:]
            own = (own + bias[:w]) * HALF
        self.told, self.before = torch.stack(beside).contiguous(), torch.stack(before).contiguous()
        # Into the answer goes what all layers have to say, by one product.
        self.skip = torch.cat(skip).contiguous()
        heads = [cast(Head, head) for head in net.heads]
        self.asking = torch.cat([head.enter.weight.detach()[:, :w] for head in heads]).t().contiguous()
        self.asked = torch.cat([head.enter.bias.detach() for head in heads])
        self.behind = [head.enter.weight.detach()[:, w:].t().contiguous() for head in heads]
        self.leaving = [(head.leave.bias.detach(), head.leave.weight.detach().t().contiguous()) for head in heads]

    def step(self, chance: Tensor, given: Tensor | None = None, there: Tensor | None = None) -> Tensor:
        """The planes of the next reading, (n, planes), drawn by uniform numbers (n, 2 channels); given, there (n, planes): what
        is known of it, which stays as it is."""
        net, (last, _, usual, rough, off) = self.net, self.views
        self.sums.add_(last)
        self.squares.addcmul_(last, last)
        torch.div(self.sums, max(self.at, 1), out=usual)
        spread = torch.addcmul(self.squares, self.sums, usual, value=-1).clamp_(min=0)
        spread = spread.add_(FIRST).div_(self.at + FIRST).sqrt_()
        torch.log(spread, out=rough)
        torch.div(last - usual, spread, out=off).clamp_(-FAR, FAR)
        answer = self._answer(torch.addmm(self._place(), self.features, self.entering))
        asked = torch.addmm(self.asked, answer, self.asking).chunk(len(net.heads), dim=1)
        out, far = torch.empty_like(last), torch.empty_like(last)
        normal = torch.logit(chance[:, 1::2].clamp(EDGE, 1 - EDGE))
        for c, (count, a, b) in enumerate(net.spans):
            inner = asked[c]
            if a:
                inner = inner.addmm(out[:, :a], self.behind[c][:a]).addmm_(far[:, :a], self.behind[c][a:])
            said = torch.addmm(self.leaving[c][0], F.silu(inner), self.leaving[c][1])
            if count:
                out[:, a:b] = _level(said, chance[:, 2 * c])
            else:
                past = last[:, a], usual[:, a], spread[:, a], rough[:, a]
                out[:, a] = self._number(said, a, past, chance[:, 2 * c], normal[:, c])
            if given is not None and there is not None:
                out[:, a:b] = torch.where(there[:, a:b], given[:, a:b], out[:, a:b])
            if b < net.layout.planes:
                far[:, a:b] = away(out[:, a:b], usual[:, a:b], spread[:, a:b])
        last.copy_(out)
        self.views[1].fill_(1.0)
        self.at += 1
        return out

    def _place(self) -> Tensor:
        """What the place in the window adds to what enters the layers, (1, width), made for many moments at a time."""
        at = self.at % AHEAD
        if not at:
            places = self.net._places(self.first + self.at, AHEAD)[0]
            self.ahead = torch.addmm(self.net.enter.bias.detach(), places, self.placing)
        return self.ahead[at : at + 1]

    def _answer(self, now: Tensor) -> Tensor:
        """What the layers say of a moment, by what they saw and see: (n, width) each."""
        w, slots = self.net.width, [past[self.at % len(past)] for past in self.past]
        # What lies behind is known to all layers at once; what they see now is not.
        torch.stack(slots, out=self.seen)
        torch.baddbmm(self.told, self.seen, self.before, out=self.both)
        slots[0].copy_(now)
        for i, (both, z) in enumerate(zip(self.both, self.gates, strict=True)):
            both.addmm_(now, self.here[i]).tanh_()
            torch.addcmul(both[:, :w], both[:, :w], both[:, w:], out=z)
            if i + 1 < len(slots):
                now = torch.addmm(now, z, self.on[i], beta=HALF, alpha=HALF, out=slots[i + 1])
        return F.silu(torch.addmm(self.skip_bias, self.gated, self.skip))

    def _number(
        self, said: Tensor, a: int, past: tuple[Tensor, Tensor, Tensor, Tensor], chance: Tensor, normal: Tensor
    ) -> Tensor:
        """A reading of the plane `a` from one logistic of `Net.mixture`, (n,); normal: the logit of a uniform number."""
        last, usual, spread, rough = past
        which = _place(said[:, :MIXED].softmax(dim=-1), chance)[:, None, None].expand(-1, 4, 1)
        _, middle, width, stays = said.view(-1, 4, MIXED).gather(2, which)[:, :, 0].unbind(dim=1)
        middle = torch.addcmul(usual, middle, spread).addcmul_(torch.sigmoid(stays + 1.0), last - usual)
        drawn = middle.addcmul_((width.clamp(-4.0, 3.0) + rough).clamp_(min=NARROW).exp_(), normal)
        rounded, place = self.net.rounded, self.net.layout.numbers.index(a)
        if step := rounded.steps[place]:
            drawn = drawn.sub_(rounded.least[place]).div_(step).round_().mul_(step).add_(rounded.least[place])
        return drawn.clamp_(rounded.least[place], rounded.most[place])


def past_of(sums: Tensor, squares: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of what was read so far, 0 and 1 before anything was, by the sums of readings, of their squares and of
    how many they are."""
    mean = sums / counts.clamp(min=1)
    inner = (squares - sums * mean).clamp(min=0)
    return mean, ((inner + FIRST) / (counts + FIRST)).sqrt()


def away(x: Tensor, usual: Tensor, spread: Tensor) -> Tensor:
    """How far a reading is from the mean of all before, in their spread."""
    return ((x - usual) / spread).clamp(-FAR, FAR)


def _level(said: Tensor, chance: Tensor) -> Tensor:
    """A level drawn by a uniform number, as zeros and a one."""
    return F.one_hot(_place(said.softmax(dim=-1), chance), said.shape[-1]).float()


def _place(shares: Tensor, chance: Tensor) -> Tensor:
    """The place at which the sum of the shares passes a uniform number: (n,)."""
    return (shares.cumsum(dim=-1) < chance[:, None]).sum(dim=-1).clamp(max=shares.shape[-1] - 1)
