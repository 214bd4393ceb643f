"""How does a pretrained pixel UNet, of whatever size, colours and classes, learn the pictures at hand?

Its first and last layer take on the channels that are needed (a mask is drawn as one more), and it is told the class by an
embedding that begins by saying nothing, so that it starts as what it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from data.images import Pictures, fitted, fitted_mask
from generators import _stored as stored
from generators.base import GeneratorError, Progress
from generators.image import _backbone, _loop, _lora
from generators.image._pictures import balanced, to_bytes
from generators.image._symmetry import symmetries, turned
from generators.image._tune import Tune, denoise, noise_like

if TYPE_CHECKING:
    from generators.image.finetune import FineTune

Array = np.ndarray
STEPS, BATCH = 1000, 16
RATES = {"full": 1e-4, "lora": 1e-3}
ROWS = 32
WEIGHTS = "unet.pt"


class Pixel:
    """A pixel UNet on its way from pretrained to fine-tuned.

    channels: of the pictures at hand, before the mask; masked: whether a mask is drawn as one more channel; native: the
    colours that the backbone itself takes."""

    def __init__(self, family: FineTune, channels: int, classes: int, *, masked: bool, seed: int) -> None:
        name = str(family.backbone)
        folder = _backbone.located(name)
        unet, self.schedule = _backbone.pixel(folder, name)
        self.method = family.method
        if family.method == "auto":
            self.method = "full" if family.lora is None else "lora"
        self.classes, self.masked, self.channels = classes, masked, channels
        self.native = int(unet.config.in_channels)
        if self.native != int(unet.config.out_channels) or self.native not in (1, 3):
            shape = f"{unet.config.in_channels} in, {unet.config.out_channels} out"
            raise GeneratorError(f"backbone: {name!r} draws no plain pictures ({shape}); give one of gray or colour pictures")
        self.base = _backbone.digest(unet)
        self.colours = max(self.native, channels)  # gray pictures go through a colour backbone as they are, three times over
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            self.unet = adapted(unet, self.colours + masked, classes + 1)
            if self.method == "lora":
                _lora.adapt(self.unet, family.rank, _lora.PIXEL, family.lora)
                for part in (self.unet.conv_in, self.unet.conv_out, self.unet.class_embedding):
                    part.requires_grad_(True)
        self.side = int(unet.config.sample_size or 64)

    def fit(
        self, train: Pictures, family: FineTune, *, seed: int, progress: Progress, checkpoint: Path | None, fingerprint: str
    ) -> None:
        """Train all weights, or the adapters with the first and last layer and the classes."""
        data = self._rows(train)
        if family.checkpointing or (family.checkpointing is None and _loop.device_of(family.device).type == "cuda"):
            self.unet.enable_gradient_checkpointing()
        held = _lora.Held(_lora.trained(self.unet))
        steps = STEPS if family.steps is None else family.steps
        tune = Tune(
            {"held": held}, self._ask, self.schedule, lr=RATES[self.method] if family.lr is None else family.lr, steps=steps,
            drop=self.classes, others=(self.unet,), clean=lambda x: x.float() / 127.5 - 1.0,
        )  # fmt: skip
        rules = _loop.Rules(
            steps=steps, batch_size=family.batch_size or BATCH, ema=family.ema, precision=family.precision,
            device=family.device, look_every=0, checkpoint_seconds=family.checkpoint_seconds,
        )  # fmt: skip
        weights = balanced(data["label"].numpy())
        done = _loop.train(
            tune, data, rules, seed=seed, progress=progress, weights=weights, checkpoint=checkpoint, fingerprint=fingerprint
        )
        average = done.average["held"]
        assert isinstance(average, _lora.Held)
        average.give(held)
        self.unet.disable_gradient_checkpointing()
        self.unet.cpu().eval()

    def draw(self, labels: Array, *, seed: int, family: FineTune) -> Array:
        """Whole pictures at the backbone's side: (n,) -> (n, side, side, channels [+ 1 for the mask]) uint8."""
        device = _loop.device_of(family.device)
        self.unet.to(device).eval()
        noise = noise_like((len(labels), self.colours + self.masked, self.side, self.side), seed)
        told = torch.from_numpy(labels.astype(np.int64))
        made = [
            denoise(
                self._ask, self.schedule, noise[i : i + ROWS].to(device), told[i : i + ROWS].to(device), {},
                evaluations=family.evaluations, guidance=family.guidance, drop=self.classes, clip=True,
            ).cpu()
            for i in range(0, len(labels), ROWS)
        ]  # fmt: skip
        drawn = torch.cat(made)
        colours, mask = drawn[:, : self.colours], drawn[:, self.colours :]
        if self.channels < self.colours:
            colours = colours.mean(dim=1, keepdim=True)
        return to_bytes(torch.cat([colours, mask], dim=1))

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was trained; adapters also in the diffusers format. What `load` must be told."""
        if self.method == "lora":
            _lora.save(self.unet, folder)
        kept = _lora.trained(self.unet) if self.method == "lora" else self.unet.state_dict()
        torch.save({name: value.detach().cpu() for name, value in kept.items()}, folder / WEIGHTS)
        return {"channels": self.channels, "classes": self.classes, "masked": self.masked, "base": self.base}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any], family: FineTune) -> Pixel:
        """Read back what `save` wrote; the backbone itself is read from where the plan names it.

        Raises GeneratorError when another backbone is there now."""
        made = cls(family, facts["channels"], facts["classes"], masked=facts["masked"], seed=0)
        if made.base != facts["base"]:
            raise GeneratorError(
                f"backbone: {family.backbone!r} is not the one that {folder} was tuned from; put that one back"
            )
        made.unet.load_state_dict(stored.weights(folder / WEIGHTS), strict=False)
        made.unet.eval()
        return made

    def _ask(self, noisy: Tensor, times: Tensor, labels: Tensor, rows: Any) -> Tensor:
        told: Tensor = self.unet(noisy, times, class_labels=labels).sample
        return told

    def _rows(self, train: Pictures) -> dict[str, Tensor]:
        """Every picture under every symmetry that the pictures have: see `Tune`."""
        pixels = np.stack([fitted(one, self.side, "stretch") for one in train.pixels])
        masks = np.stack([fitted_mask(one, self.side, "stretch") for one in train.masks])[..., None].astype(np.uint8) * 255
        if pixels.shape[3] < self.colours:
            pixels = np.repeat(pixels, self.colours, axis=3)
        x = torch.from_numpy(np.concatenate([pixels, masks], axis=3) if self.masked else pixels).permute(0, 3, 1, 2)
        turns = symmetries(train.pixels)
        x = torch.cat([turned(x, g) for g in turns])
        label = torch.from_numpy(train.labels).repeat(len(turns))
        weight = torch.full((len(x), 1, self.side, self.side), 255, dtype=torch.uint8)
        return {"x": x.contiguous(), "label": label, "weight": weight, "worth": torch.ones(len(x))}


def adapted(unet: Any, channels: int, labels: int) -> Any:
    """The UNet with so many channels in and out and so many classes, in what it draws still the one it was.

    New channels of colour share the old ones' weights; a mask's begin at zero."""
    own = int(unet.config.in_channels)
    config = dict(unet.config) | {"in_channels": channels, "out_channels": channels}
    config |= {"num_class_embeds": labels, "class_embed_type": None}
    made = _backbone.made("UNet2DModel").from_config(config)
    state = dict(unet.state_dict())
    told = state.get("class_embedding.weight")
    state = {name: value for name, value in state.items() if not name.startswith("class_embedding.")}
    colours = 3 if channels >= 3 else 1
    state["conv_in.weight"] = _wider(state["conv_in.weight"], 1, own, colours, channels, share=True)
    for name in ("conv_out.weight", "conv_out.bias"):
        state[name] = _wider(state[name], 0, own, colours, channels, share=False)
    fresh = torch.zeros_like(made.class_embedding.weight)
    # A backbone of other classes begins in the middle of them; one of none is told nothing yet.
    state["class_embedding.weight"] = fresh if told is None or told.ndim != 2 else fresh + told.mean(dim=0)
    made.load_state_dict(state)
    return made


def _wider(weight: Tensor, axis: int, own: int, colours: int, channels: int, *, share: bool) -> Tensor:
    times = colours // own
    wide = torch.cat([weight] * times, dim=axis) / (times if share else 1)
    if channels > colours:
        rest = list(wide.shape)
        rest[axis] = channels - colours
        wide = torch.cat([wide, torch.zeros(rest)], dim=axis)
    return nn.Parameter(wide.clone()).data
