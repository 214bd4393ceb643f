"""How is a large network changed by a few small matrices, kept in the format that any diffusers pipeline loads?

Low-rank adapters (Hu et al. 2021) as peft lays them into a UNet. Their scale is always 1 (alpha = rank), so that a file
without metadata means the same to every reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from generators.base import GeneratorError
from generators.image._backbone import made, quiet

#: Where adapters go: attention in Stable Diffusion; also the convolutions of a pixel UNet, which has little attention.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
PIXEL = (*ATTENTION, "conv1", "conv2")
#: The file that `save_lora_weights` writes and `load_lora_weights` looks for.
FILE = "pytorch_lora_weights.safetensors"


class Held(nn.Module):
    """Parameters that live in another network, as a network of their own: what is trained, averaged and kept of it."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.names = tuple(named)
        self.values = nn.ParameterList(named.values())

    def give(self, other: Held) -> None:
        """Write these values into the parameters that `other` holds."""
        with torch.no_grad():
            for mine, its in zip(self.values, other.values, strict=True):
                its.copy_(mine.to(its))


def adapt(unet: Any, rank: int, targets: Sequence[str], start: str | None = None) -> None:
    """Freeze a UNet and lay trainable adapters into it, fresh ones or those of a file or folder `start`.

    Raises GeneratorError when `start` holds none, or adapters of another base."""
    unet.requires_grad_(False)
    if start is not None:
        load(unet, Path(start).expanduser())
    else:
        _inject(unet, rank, targets)
    for name, value in unet.named_parameters():
        if "lora_" in name:
            value.data = value.data.float()
            value.requires_grad_(True)


def trained(unet: Any) -> dict[str, nn.Parameter]:
    """The parameters of a network that are trained, by name."""
    return {name: value for name, value in unet.named_parameters() if value.requires_grad}


def save(unet: Any, folder: Path) -> None:
    """Write the adapters as `pytorch_lora_weights.safetensors`."""
    from peft import get_peft_model_state_dict

    layers = {k: v.detach().float().cpu().contiguous() for k, v in get_peft_model_state_dict(unet).items()}
    with quiet():
        made("StableDiffusionPipeline").save_lora_weights(folder, unet_lora_layers=layers)


def load(unet: Any, where: Path) -> None:
    """Lay the adapters of a file or folder into the UNet.

    Raises GeneratorError when there are none, or they were made for another base."""
    state = _read(where)
    _fits(unet, state, where)
    rank = {f"{name.removesuffix('.lora_A.weight')}": len(v) for name, v in state.items() if name.endswith("lora_A.weight")}
    with torch.random.fork_rng():  # fresh values are drawn, to be overwritten at once
        _inject(unet, max(rank.values()), sorted(rank), ranks=rank)
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(unet, state)


def _inject(unet: Any, rank: int, targets: Sequence[str], ranks: Mapping[str, int] | None = None) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    if rank < 1:
        raise GeneratorError(f"rank: {rank} is no rank; take 4 to 64")
    each = dict(ranks or {})
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        init_lora_weights="gaussian",
        target_modules=list(targets),
        rank_pattern=each,
        alpha_pattern=each,
    )
    if hasattr(unet, "add_adapter"):
        unet.add_adapter(config)
    else:
        inject_adapter_in_model(config, unet)


def _read(where: Path) -> dict[str, Tensor]:
    """The adapters of a UNet by peft's names, scale 1; other spellings (Kohya's, older diffusers') are converted."""
    from diffusers.utils.state_dict_utils import convert_unet_state_dict_to_peft

    found = where / FILE if where.is_dir() else where
    if not found.is_file():
        raise GeneratorError(f"lora: {where} holds no {FILE}; give the folder or file of a LoRA in the diffusers format")
    try:
        with quiet():
            reads = made("StableDiffusionPipeline").lora_state_dict
            state, alphas = reads(str(found.parent), weight_name=found.name, local_files_only=True)
    except Exception as error:  # a foreign file fails in as many ways as there are formats
        said = " ".join(str(error).split())[:100]
        raise GeneratorError(f"lora: {found} cannot be read as a LoRA ({said}); give one in the diffusers format") from None
    scaled = {k.removesuffix(".alpha"): float(v) for k, v in (alphas or {}).items()}
    mine = {k.removeprefix("unet."): v for k, v in state.items() if k.startswith("unet.")}
    if mine and not any("lora_A" in k for k in mine):
        convert: Any = convert_unet_state_dict_to_peft
        mine = convert(mine)
    if not any(k.endswith("lora_A.weight") for k in mine):
        raise GeneratorError(
            f"lora: {found} holds no adapters of a UNet; give a LoRA of Stable Diffusion in the diffusers format"
        )
    for key in [k for k in mine if k.endswith("lora_B.weight")]:
        base = "unet." + key.removesuffix(".lora_B.weight")
        if base in scaled:  # alpha over rank, folded into the matrix
            mine[key] = mine[key] * (scaled[base] / mine[key].shape[1])
    return mine


def _fits(unet: Any, state: Mapping[str, Tensor], where: Path) -> None:
    modules = dict(unet.named_modules())
    for key, value in state.items():
        if ".lora_A" not in key and ".lora_B" not in key:
            continue
        name = key.split(".lora_")[0]
        weight = getattr(modules.get(name), "weight", None)
        place = 1 if ".lora_A" in key else 0
        if weight is None or weight.ndim < 2 or weight.shape[place] != value.shape[place]:
            found = "it has no such layer" if weight is None else f"{tuple(weight.shape)} there"
            said = f"its {name} is {tuple(value.shape)}, {found}"
            raise GeneratorError(f"lora: {where} was made for another base ({said}); give the backbone it was made for")
