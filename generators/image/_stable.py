"""How does Stable Diffusion learn a defect from a few pictures, as a whole or inside a mask?

Pictures are encoded once, and their latents kept; the text of each class is encoded once as well, so that during training
only the UNet (and a ControlNet) is at work. By the sizes of Stable Diffusion 1.5 with adapters on a GPU: frozen weights in
bfloat16 1.7 GB, activations at 512 px with gradient checkpointing about 1 GB a picture, a trained ControlNet 5 GB more with
its optimiser and average: within 16 GB; a full fine-tuning is not (14 GB of weights, optimiser and average alone)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from generators import _stored as stored
from generators.base import GeneratorError, Progress
from generators.image import _backbone, _loop, _lora
from generators.image._pictures import to_bytes
from generators.image._tune import Tune, denoise, noise_like

if TYPE_CHECKING:
    from generators.image.finetune import FineTune

Array = np.ndarray
STEPS = 800
#: Where a batch begins on a GPU, to be halved until it fits; on a CPU.
BATCH_GPU, BATCH_CPU = 16, 4
RATES = {"full": 1e-5, "lora": 1e-4}
ENCODE_ROWS, DRAW_ROWS = 4, 8
WEIGHTS, CONTROL, LATENTS = "unet.pt", "controlnet", "latents.pt"


class Latent:
    """A Stable Diffusion on its way from pretrained to fine-tuned.

    names: the classes; their texts are followed by that of the prior and by the empty one; control: None, "train", or
    where a ControlNet is."""

    def __init__(self, family: FineTune, names: tuple[str, ...], control: str | None, *, seed: int) -> None:
        name = str(family.backbone)
        folder = _backbone.located(name)
        self.inpaint = _backbone.kind_of(folder, name) == "inpaint"
        self.parts = _backbone.stable(folder, name)
        self.unet, self.method = self.parts.unet, "lora" if family.method == "auto" else family.method
        self.base = _backbone.digest(self.unet)
        self.side = family.resolution or self.parts.resolution
        if self.side % (8 * self.parts.scale) and self.side != self.parts.resolution:
            raise GeneratorError(
                f"resolution: {self.side} is no multiple of {8 * self.parts.scale}; take {self.parts.resolution}"
            )
        self.names, self.prior, self.drop = names, len(names), len(names) + 1
        self.words = self._told(
            [*(family.prompt.replace("{class}", n.replace("_", " ")) for n in names), family.prior_prompt, ""]
        )
        self.control: Any = None
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            if control == "train":
                self.control = _backbone.made("ControlNetModel").from_unet(
                    self.unet, conditioning_embedding_out_channels=_widths(self.parts.scale)
                )
            elif control is not None:
                self.control = _backbone.controller(control, self.unet).requires_grad_(False)
        self.unet.eval()

    def adapt(self, family: FineTune, seed: int) -> None:
        """Make the UNet ready to be trained, by adapters or as a whole; until then it draws as the backbone does."""
        with torch.random.fork_rng():
            torch.manual_seed(seed % 2**63)
            if self.method == "lora":
                _lora.adapt(self.unet, family.rank, _lora.ATTENTION, family.lora)
            else:
                self.unet.requires_grad_(True)

    def fit(
        self, rows: dict[str, Tensor], family: FineTune, *, weights: Tensor, seed: int, progress: Progress,
        checkpoint: Path | None, fingerprint: str,
    ) -> None:  # fmt: skip
        """Train on encoded rows: see `encoded` and `Tune`."""
        device = _loop.device_of(family.device)
        self._ready(device, family)
        nets = {"unet": self.unet} | ({"control": self.control} if family.control == "train" else {})
        held = {name: _lora.Held(_lora.trained(net)) for name, net in nets.items()}
        steps = STEPS if family.steps is None else family.steps
        tune = Tune(
            held, self._ask, self.parts.schedule, lr=RATES[self.method] if family.lr is None else family.lr, steps=steps,
            drop=self.drop, others=[net for net in (self.unet, self.control) if net is not None],
        )  # fmt: skip
        rules = _loop.Rules(
            steps=steps, batch_size=family.batch_size or (BATCH_GPU if device.type == "cuda" else BATCH_CPU), ema=family.ema,
            precision=family.precision, device=family.device, look_every=0, checkpoint_seconds=family.checkpoint_seconds,
        )  # fmt: skip
        done = _loop.train(
            tune, rows, rules, seed=seed, progress=progress, weights=weights, checkpoint=checkpoint, fingerprint=fingerprint
        )
        for name, part in held.items():
            average = done.average[name]
            assert isinstance(average, _lora.Held)
            average.give(part)
        for net in nets.values():
            net.disable_gradient_checkpointing()
            net.cpu().eval()

    @torch.no_grad()
    def encode(self, pixels: Array, family: FineTune) -> Tensor:
        """Latents of pictures: (n, side, side, 1 or 3) uint8 -> (n, 4, h, w) half, on the CPU.

        The middle of what the encoder tells: its spread is small beside the noise of training."""
        device = _loop.device_of(family.device)
        vae = self.parts.vae.to(device)
        made = []
        for i in range(0, len(pixels), ENCODE_ROWS):
            part = torch.from_numpy(pixels[i : i + ENCODE_ROWS]).permute(0, 3, 1, 2).float().div(127.5).sub(1.0)
            colour = part.expand(-1, 3, -1, -1).to(device)
            made.append((vae.encode(colour).latent_dist.mean * vae.config.scaling_factor).half().cpu())
        vae.cpu()
        return torch.cat(made)

    @torch.no_grad()
    def draw(
        self,
        labels: Tensor,
        rows: Mapping[str, Tensor],
        *,
        seed: int,
        family: FineTune,
        channels: int,
        guidance: float | None = None,
    ) -> Array:
        """Pictures of the labels' texts: (n,) -> (n, side, side, channels) uint8.

        rows: `hole` (n, 1, h, w) and `masked` (n, 4, h, w) to paint into, `shape` (n, 1, side, side) uint8 for a ControlNet."""
        device = _loop.device_of(family.device)
        self._ready(device, family, training=False)
        side = self.side // self.parts.scale
        noise = noise_like((len(labels), int(self.parts.vae.config.latent_channels), side, side), seed)
        vae, told, made = self.parts.vae.to(device), labels.to(device), []
        for i in range(0, len(labels), DRAW_ROWS):
            part = {name: value[i : i + DRAW_ROWS].to(device) for name, value in rows.items()}
            with self._autocast(device, family):
                latents = denoise(
                    self._ask, self.parts.schedule, noise[i : i + DRAW_ROWS].to(device), told[i : i + DRAW_ROWS], part,
                    evaluations=family.evaluations, guidance=family.guidance if guidance is None else guidance, drop=self.drop,
                    clip=False,
                )  # fmt: skip
            made.append(vae.decode(latents / vae.config.scaling_factor).sample.float().cpu())
        vae.cpu()
        drawn = torch.cat(made) if made else torch.zeros(0, 3, self.side, self.side)
        return to_bytes(drawn.mean(dim=1, keepdim=True) if channels == 1 else drawn)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what was trained, in the diffusers format; what `load` must be told."""
        if self.method == "lora":
            _lora.save(self.unet, folder)
        else:
            torch.save(self.unet.state_dict(), folder / WEIGHTS)
        if self.control is not None:
            with _backbone.quiet():
                self.control.save_pretrained(folder / CONTROL)
        return {"names": list(self.names), "base": self.base}

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any], family: FineTune) -> Latent:
        """Read back what `save` wrote; the backbone itself is read from where the plan names it.

        Raises GeneratorError when another backbone is there now."""
        made = cls(family, tuple(facts["names"]), None, seed=0)
        if made.base != facts["base"]:
            raise GeneratorError(
                f"backbone: {family.backbone!r} is not the one that {folder} was tuned from; put that one back"
            )
        if made.method == "lora":
            _lora.load(made.unet, folder)
        else:
            made.unet.load_state_dict(stored.weights(folder / WEIGHTS))
        if (folder / CONTROL).is_dir():
            made.control = _backbone.controller(str(folder / CONTROL), made.unet).eval()
        made.unet.eval()
        return made

    def _ask(self, noisy: Tensor, times: Tensor, labels: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
        words = self.words.to(noisy.device)[labels]
        seen = noisy
        if self.inpaint:
            seen = torch.cat([noisy, rows["hole"].to(noisy.dtype), rows["masked"].to(noisy.dtype)], dim=1)
        more: dict[str, Any] = {}
        if self.control is not None and "shape" in rows:
            shape = rows["shape"].to(noisy.dtype).div(255.0).expand(-1, 3, -1, -1)
            own = seen[:, : self.control.config.in_channels]
            down, mid = self.control(own, times, encoder_hidden_states=words, controlnet_cond=shape, return_dict=False)
            more = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        told: Tensor = self.unet(seen, times, encoder_hidden_states=words, **more).sample
        return told

    @torch.no_grad()
    def _told(self, texts: list[str]) -> Tensor:
        """The texts as the UNet reads them: (k, tokens, d)."""
        words, text = self.parts.words, self.parts.text
        longest = min(int(words.model_max_length), int(text.config.max_position_embeddings))
        tokens = words(texts, padding="max_length", truncation=True, max_length=longest, return_tensors="pt")
        told: Tensor = text(tokens.input_ids)[0]
        return told

    def _ready(self, device: torch.device, family: FineTune, *, training: bool = True) -> None:
        """Frozen weights in half precision on a GPU that can; gradient checkpointing when training there."""
        if device.type == "cuda" and self._half(device, family):
            for net in (self.unet, self.control):
                for value in [] if net is None else net.parameters():
                    if not value.requires_grad:
                        value.data = value.data.to(torch.bfloat16)
        for net in (self.unet, self.control):
            if net is None:
                continue
            net.to(device)
            saving = family.checkpointing if family.checkpointing is not None else device.type == "cuda"
            if training and saving:
                net.enable_gradient_checkpointing()
            if not training:
                net.eval()

    def _half(self, device: torch.device, family: FineTune) -> bool:
        return device.type == "cuda" and family.precision != "no" and torch.cuda.is_bf16_supported()

    def _autocast(self, device: torch.device, family: FineTune) -> Any:
        return torch.autocast("cuda", torch.bfloat16) if self._half(device, family) else contextlib.nullcontext()


def _widths(scale: int) -> tuple[int, ...]:
    """Channels of the layers that bring a condition down to the latents' size, halving it once between two of them."""
    return (16, 32, 96, 256)[: scale.bit_length()]
