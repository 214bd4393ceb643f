"""Diffusers checkpoints of a few kilobytes, built without a network: what a fine-tuning can be shown to load and save.

Their weights are random: they prove shapes, formats and arithmetic, not beauty."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import torch

WIDE = 8


def seeded(build: Any) -> Any:
    """What `build` makes, from one seed and without a trace in torch's own randomness."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


def pixel_unet(channels: int = 3, classes: int | None = None, size: int = 16) -> Any:
    """A UNet as DDPM has it, unconditional or for so many classes."""
    from diffusers import UNet2DModel

    return seeded(
        lambda: UNet2DModel(
            sample_size=size, in_channels=channels, out_channels=channels, layers_per_block=1, block_out_channels=(WIDE, WIDE),
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=4, attention_head_dim=4, num_class_embeds=classes,
        )
    )  # fmt: skip


def pixel_pipeline(folder: Path, **how: Any) -> Path:
    """A saved DDPMPipeline."""
    from diffusers import DDPMPipeline, DDPMScheduler

    DDPMPipeline(unet=pixel_unet(**how), scheduler=DDPMScheduler(num_train_timesteps=100)).save_pretrained(folder)
    return folder


def bare_unet(folder: Path, **how: Any) -> Path:
    """A saved UNet2DModel alone."""
    pixel_unet(**how).save_pretrained(folder)
    return folder


def tokenizer(folder: Path) -> Any:
    """A CLIPTokenizer of single letters, from a vocabulary written by hand."""
    from transformers import CLIPTokenizer

    letters = string.ascii_lowercase + string.digits + "_-.,"
    tokens = [*letters, "ab", *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def conditional_unet(channels: int = 4, cross: int = 8) -> Any:
    from diffusers import UNet2DConditionModel

    return seeded(
        lambda: UNet2DConditionModel(
            sample_size=8, in_channels=channels, out_channels=4, layers_per_block=1, block_out_channels=(WIDE, 2 * WIDE),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            cross_attention_dim=cross, attention_head_dim=2, norm_num_groups=4,
        )
    )  # fmt: skip


def stable_diffusion(folder: Path, *, inpaint: bool = False, cross: int = 8) -> Path:
    """A saved Stable Diffusion: text to picture, or painting into a mask (nine channels in). Pictures of 16 px."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionInpaintPipeline, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel

    words = tokenizer(folder / "words")
    vae = seeded(
        lambda: AutoencoderKL(
            block_out_channels=(8, 8), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )
    )  # fmt: skip
    text = seeded(
        lambda: CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words), hidden_size=cross, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                max_position_embeddings=16, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
            )
        )
    )  # fmt: skip
    schedule = DDIMScheduler(
        num_train_timesteps=100, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False, set_alpha_to_one=False
    )
    pipeline = StableDiffusionInpaintPipeline if inpaint else StableDiffusionPipeline
    pipeline(
        vae=vae, text_encoder=text, tokenizer=words, unet=conditional_unet(9 if inpaint else 4, cross), scheduler=schedule,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def control_net(folder: Path, cross: int = 8) -> Path:
    """A saved ControlNet that fits `stable_diffusion`, its outputs no longer zero."""
    from diffusers import ControlNetModel

    def build() -> Any:
        net = ControlNetModel.from_unet(conditional_unet(4, cross), conditioning_embedding_out_channels=(8, 8))
        for block in net.controlnet_down_blocks:
            torch.nn.init.normal_(block.weight, std=0.1)
        torch.nn.init.normal_(net.controlnet_cond_embedding.conv_out.weight, std=0.1)
        return net

    seeded(build).save_pretrained(folder)
    return folder
