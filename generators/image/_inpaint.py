"""How does a small network learn, from good pictures alone, to fill a hole, and then to fill it with a defect?

The network sees a hole full of noise, the window with that hole filled smoothly from what lies around it, and the hole; it
is told the class to paint, and says what differs from the smooth filling. It learns in two trainings of one loop: first to
mend holes of the masks' shapes in the surfaces at hand, which needs no label, then what each class of defect looks like, all
classes at once. Noise runs on a quarter of a circle: at angle a a difference is cos(a) difference + sin(a) noise, and the
network tells v = cos(a) noise - sin(a) difference, so that a step of the sampler is a turn by a smaller angle (Salimans and
Ho 2022, appendix D)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.images import box
from generators.base import GeneratorError
from generators.image._backbone import made
from generators.image._loop import Hand, Look, grid
from generators.image._noise import noised, spread_levels, target
from generators.image._pictures import to_bytes, to_unit
from generators.image._symmetry import turned_by

Array = np.ndarray
#: Pixels on a side of the cells that the network computes on.
CELL = 2
#: Channels at full size.
FINE = 8
#: Pixels below which a smaller mask does not weigh more.
FLOOR = 24.0
#: How far brightness and contrast are varied while defects are learned.
LIGHT = 0.15
LOOKS = 8
#: Rounds of smoothing of what is filled.
SMOOTH = 6


class Denoiser(nn.Module):
    """The network: noisy hole, filled window and hole in, v of the hole out.

    width: channels of the finest level, a multiple of 8; labels: how many classes it can be told, one of them "any";
    scale: the spread of what defects differ by, in which they are learned: small ones would drown in the last noise."""

    scale: Tensor

    def __init__(self, channels: int, width: int, labels: int) -> None:
        super().__init__()
        if width % 8 or width < 8:
            raise GeneratorError(f"width: {width} is no multiple of 8; take 16, 32 or 48")
        self.register_buffer("scale", torch.tensor(1.0))
        seen = 2 * channels + 1
        # Most of the work is done on cells of 2 x 2 pixels; a few layers at full size before and after keep edges sharp.
        self.stem = nn.Conv2d(seen, FINE, 3, padding=1)
        self.net: Any = made("UNet2DModel")(
            in_channels=FINE * CELL**2, out_channels=FINE * CELL**2, layers_per_block=1,
            block_out_channels=(width, 2 * width, 3 * width), norm_num_groups=8, attention_head_dim=8,
            down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), num_class_embeds=labels,
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Conv2d(FINE + seen, 2 * FINE, 3, padding=1), nn.SiLU(), nn.Conv2d(2 * FINE, 2 * FINE, 3, padding=1), nn.SiLU(),
            nn.Conv2d(2 * FINE, channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, noisy: Tensor, base: Tensor, hole: Tensor, angle: Tensor, labels: Tensor) -> Tensor:
        """(n, c, s, s), (n, c, s, s), (n, 1, s, s), (n,) in 0 to pi/2, (n,) int64 -> (n, c, s, s)."""
        seen = torch.cat([noisy, base, hole], dim=1)
        cells = nn.functional.pixel_unshuffle(self.stem(seen), CELL)
        told = self.net(cells, angle * (1000 / (math.pi / 2)), class_labels=labels).sample
        out: Tensor = self.head(torch.cat([nn.functional.pixel_shuffle(told, CELL), seen], dim=1))
        return out


@dataclass(frozen=True)
class Weights:
    """What counts how much: the defect inside its mask, the whole object with its defect, the good surface.

    soft: of a pixel outside the mask against one inside, in the term on the whole object.
    Source: the idea of DefectFill (arXiv 2503.13985): a term inside the mask and one on the object, softly masked."""

    defect: float = 1.0
    object: float = 0.2
    good: float = 0.5
    soft: float = 0.3


class Paint:
    """A `Trainee` of the loop: one of the two trainings.

    The rows of a batch: canvas (n, c, S, S) uint8, mark (n, 1, S, S) bool, label (n,), low and room (n, 2) int64: where
    the window may begin (see `rows`). holes: (p, 1, s, s) bool, holes of the masks' distribution; defects: whether
    defects are learned (the second training) or surfaces alone (the first); good: the label of a mended surface;
    any_label: the label that stands for every class."""

    def __init__(
        self, net: Denoiser, holes: Tensor, *, side: int, steps: int, lr: float, defects: bool, good: int, any_label: int,
        weights: Weights, turns: tuple[int, ...], whole: bool = False, show: Mapping[str, Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.parts: dict[str, nn.Module] = {"net": net}
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "net": torch.optim.AdamW(net.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-2)
        }
        self.averaged: tuple[str, ...] = ("net",)
        self.holes, self.side, self.steps, self.lr, self.defects = holes, side, steps, lr, defects
        self.good, self.any_label, self.weights = good, any_label, weights
        self.turns, self.whole, self.show = turns, whole, show

    def step(self, batch: dict[str, Tensor], hand: Hand) -> dict[str, Tensor]:
        """One update on random windows, turned and blanked."""
        self._set_rate(hand.steps)
        shown, mark = self._windows(batch, hand)
        hole, weight, label = self._task(mark, batch["label"], hand)
        base, net = filled(shown, ~hole), self.parts["net"]
        assert isinstance(net, Denoiser)
        rest, noise = (shown - base) / net.scale, hand.randn(*shown.shape)
        level = spread_levels(hand.rand(len(shown)), "v", 0.0, 1.0)
        with hand.autocast():
            told = net(noised(rest, noise, level) * hole, base, hole.float(), level * (math.pi / 2), label)
        off = (told.float() - target("v", rest, noise, level)).square().mean(dim=1, keepdim=True)
        each = (off * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=FLOOR)
        loss = each.mean()
        hand.update("net", loss, clip=1.0)
        return {"loss": loss.detach()}

    def look(self, step: int, hand: Hand) -> Look:
        """A grid of windows, each with its hole blanked beside what is painted there."""
        if self.show is None:
            return Look()
        shown, hole = to_unit(self.show["pixels"]), self.show["holes"]
        net = hand.average["net"]
        assert isinstance(net, Denoiser)
        filled = paint(net, shown, hole, self.show["labels"], any_label=self.any_label, device=hand.device, seed=0)
        pairs = torch.stack([shown * ~hole, filled.cpu()], dim=1).flatten(0, 1)
        return Look(grid=grid(to_bytes(pairs)))

    def memory(self) -> dict[str, Any]:
        return {}

    def recall(self, memory: dict[str, Any]) -> None:
        return None

    def _set_rate(self, step: int) -> None:
        warm = min(1.0, (step + 1) / max(1, min(100, self.steps // 10)))
        rate = self.lr * warm * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))))
        for group in self.optimizers["net"].param_groups:
            group["lr"] = rate

    def _windows(self, batch: dict[str, Tensor], hand: Hand) -> tuple[Tensor, Tensor]:
        """Random windows of the rows: (n, c, s, s) float in [-1, 1] and (n, 1, s, s) bool."""
        n, device = len(batch["label"]), batch["label"].device
        start = batch["low"] + (hand.rand(n, 2) * (batch["room"] + 1)).long()
        steps = torch.arange(self.side, device=device)
        y, x = (start[:, 0, None] + steps)[:, :, None], (start[:, 1, None] + steps)[:, None, :]
        which = torch.arange(n, device=device)[:, None, None]
        both = torch.cat([batch["canvas"], batch["mark"].to(torch.uint8)], dim=1)[which, :, y, x].permute(0, 3, 1, 2)
        turns = torch.tensor(self.turns, device=device)[hand.randint(len(self.turns), n)]
        both = turned_by(both, turns)
        shown = both[:, :-1].float() / 127.5 - 1.0
        if self.defects and not self.whole:
            # The same mark under another light: what a few pictures show of brightness is not all there is.
            gain, lift = 1 + LIGHT * (2 * hand.rand(n, 1, 1, 1) - 1), LIGHT * (2 * hand.rand(n, 1, 1, 1) - 1)
            shown = (shown * gain + lift).clamp(-1, 1)
        return shown, both[:, -1:] > 0

    def _task(self, mark: Tensor, label: Tensor, hand: Hand) -> tuple[Tensor, Tensor, Tensor]:
        """Hole, weight of each pixel, and the class told, of each row."""
        n = len(label)
        if self.whole:
            hole = torch.ones_like(mark)
            told = torch.where(hand.rand(n) < 0.1, self.any_label, label)
            return hole, torch.ones_like(mark).float(), told
        self.holes = self.holes.to(mark.device)
        hole = self.holes[hand.randint(len(self.holes), n)]
        flat = (n, 1, 1, 1)
        if not self.defects:
            # Whatever its class, what lies around a defect is surface too; the defect itself is not.
            return hole, (hole & ~mark).float(), torch.full_like(label, self.good)
        w = self.weights
        bad = label != self.good
        object_term = bad & (hand.rand(n) < w.object / (w.object + w.defect))
        hole = torch.where((bad & ~object_term).view(flat), mark, torch.where(object_term.view(flat), mark | hole, hole))
        soft = (hole & object_term.view(flat)) * w.soft
        inside = torch.where(bad.view(flat), mark, hole)
        # The object's own label: a hole wider than its defect must not be filled with defect when the class is asked for.
        told = torch.where(object_term, label + self.any_label + 1, label)
        told = torch.where(hand.rand(n) < 0.1, self.any_label, told)
        return hole, torch.where(inside, 1.0, soft), told


def rows(pixels: Array, masks: Array, labels: Array, side: int, *, pad: int) -> dict[str, Tensor]:
    """Training rows whose windows may lie anywhere as long as they hold the mark: `Paint` says what they are.

    pixels: (n, size, size, c) uint8; masks: (n, size, size) bool. Pictures are continued for `pad` pixels beyond their
    border by mirroring, so that windows as wide as the picture shift too; a mark wider than a window is shown smaller."""
    from data.images import fitted, fitted_mask

    size = pixels.shape[1]
    canvas = np.pad(pixels, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    mark = np.pad(masks, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    low, room = np.zeros((len(pixels), 2), dtype=np.int64), np.zeros((len(pixels), 2), dtype=np.int64)
    for i, mask in enumerate(masks):
        extent = size
        x, y, w, h = box(mask) or (0, 0, 0, 0)
        if (scale := side / max(side, 1.2 * max(w, h))) < 1:  # the whole picture shrinks, its mark with it
            extent = max(side, round(size * scale))
            canvas[i], mark[i] = 0, False
            small = np.pad(fitted(pixels[i], extent, "stretch"), ((pad, pad), (pad, pad), (0, 0)), mode="reflect")
            canvas[i, : extent + 2 * pad, : extent + 2 * pad] = small
            shrunk = np.pad(fitted_mask(mask, extent, "stretch"), pad, mode="reflect")
            mark[i, : extent + 2 * pad, : extent + 2 * pad] = shrunk
            x, y, w, h = (int(v * extent / size) for v in (x, y, w, h))
        for axis, (start, length) in enumerate(((y, h), (x, w))):
            last = extent + 2 * pad - side
            first = int(np.clip(start + pad + length - side + 1, 0, last)) if length else 0
            end = int(np.clip(start + pad, first, last)) if length else last
            low[i, axis], room[i, axis] = first, end - first
    return {
        "canvas": torch.from_numpy(canvas).permute(0, 3, 1, 2).contiguous(),
        "mark": torch.from_numpy(mark)[:, None], "label": torch.from_numpy(labels.astype(np.int64)),
        "low": torch.from_numpy(low), "room": torch.from_numpy(room),
    }  # fmt: skip


def filled(shown: Tensor, known: Tensor) -> Tensor:
    """Windows with what is not known filled smoothly from around it: (n, c, s, s), (n, 1, s, s) bool -> (n, c, s, s).

    Averages of ever larger cells, the finest known one taken for each pixel (push and pull, Gortler et al. 1996), then
    smoothed inside the hole. Middle gray where nothing is known."""
    pool = nn.functional.avg_pool2d
    values, weights = [shown * known], [known.to(shown.dtype)]
    while values[-1].shape[-1] > 1:
        values.append(pool(values[-1], 2, ceil_mode=True))
        weights.append(pool(weights[-1], 2, ceil_mode=True))
    out = values[-1] / weights[-1].clamp(min=1e-6)
    for value, weight in zip(values[-2::-1], weights[-2::-1], strict=True):
        wide = nn.functional.interpolate(out, size=value.shape[-2:], mode="bilinear", align_corners=False)
        out = value + (1 - weight) * wide  # values are weighted already
    for _ in range(SMOOTH):
        mean = pool(nn.functional.pad(out, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        out = torch.where(known, shown, mean)
    return out


def spread(shown: Tensor, hole: Tensor) -> float:
    """How much windows differ from their smooth filling inside the holes: the standard deviation, .05 to 1."""
    off = (shown - filled(shown, ~hole))[hole.expand_as(shown)]
    return float(off.square().mean().sqrt().clamp(0.05, 1.0)) if off.numel() else 1.0


@torch.no_grad()
def paint(
    net: Denoiser, shown: Tensor, hole: Tensor, labels: Tensor, *, any_label: int, seed: int,
    evaluations: int = 12, guidance: float = 1.0, device: torch.device | str = "cpu", rows: int = 64,
) -> Tensor:  # fmt: skip
    """Fill the holes of windows: (n, c, s, s) in [-1, 1], (n, 1, s, s) bool, (n,) -> (n, c, s, s), the rest as given.

    evaluations: of the network for each window, guided ones counted twice. Second order by the step before
    (Adams-Bashforth); the same seed paints the same."""
    noise = torch.randn(shown.shape, generator=torch.Generator().manual_seed(seed % 2**63))
    done = []
    for i in range(0, len(shown), rows):
        seen, gap, told, start = (part[i : i + rows].to(device) for part in (shown, hole, labels, noise))
        done.append(_paint(net, seen, gap, told, start, any_label, evaluations, guidance))
    return torch.cat(done) if done else shown


def _paint(
    net: Denoiser, shown: Tensor, hole: Tensor, labels: Tensor, noise: Tensor, any_label: int, evaluations: int,
    guidance: float,
) -> Tensor:  # fmt: skip
    base, holes, scale = filled(shown, ~hole), hole.float(), net.scale
    guided = guidance != 1.0
    steps = max(1, evaluations // 2 if guided else evaluations)
    turns = torch.linspace(math.pi / 2, 0, steps + 1).tolist()
    now, before = noise, None
    for a, b in zip(turns[:-1], turns[1:], strict=True):
        angle = torch.full((len(shown),), a, device=shown.device)
        v = net(now * holes, base, holes, angle, labels)
        if guided:
            plain = net(now * holes, base, holes, angle, torch.full_like(labels, any_label))
            v = plain + guidance * (v - plain)
        rest = math.cos(a) * now - math.sin(a) * v
        rest = ((base + scale * rest).clamp(-1, 1) - base) / scale  # no pixel is darker than black
        v = (math.cos(a) * now - rest) / math.sin(a)
        lead = v if before is None or b == 0 else 1.5 * v - 0.5 * before  # the last step lands on the picture itself
        now, before = math.cos(a - b) * now - math.sin(a - b) * lead, v
    return torch.where(hole, (base + scale * now).clamp(-1, 1), shown)
