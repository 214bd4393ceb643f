"""Which pretrained model does a plan name, is it one that can be fine-tuned, and what are its parts?

A backbone is a folder in the diffusers format or the id of one on the hub. Three kinds are known: a pixel UNet (a
DDPMPipeline, or the UNet alone), Stable Diffusion from text, and Stable Diffusion that paints into a mask. A saved model
of this family without a backbone can be one as well, so that surfaces are learned once for several sets of defects."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from generators.base import ENVELOPE, GeneratorError

Kind = Literal["own", "pixel", "text", "inpaint"]
#: What of a hub's repository is fetched: no single-file checkpoints, no other frameworks' weights.
WANTED = ["*.json", "*.txt", "*/*.json", "*/*.txt", "*.safetensors", "*/*.safetensors"]
UNWANTED = ["*fp16*", "*non_ema*", "*ema_only*", "*pruned*", "safety_checker/*", "*onnx*", "*flax*"]


@dataclass
class Stable:
    """The parts of a Stable Diffusion; `scale` pixels of a picture are one of a latent."""

    unet: Any
    vae: Any
    text: Any
    words: Any
    schedule: Any
    scale: int

    @property
    def resolution(self) -> int:
        """The side of the pictures that the UNet was trained on."""
        return int(self.unet.config.sample_size) * self.scale


def located(backbone: str, key: str = "backbone") -> Path:
    """The folder of a backbone: a local one, or what the hub has under that id, fetched once and kept in its cache.

    Raises GeneratorError when there is no such folder and it cannot be fetched; HF_HUB_OFFLINE=1 asks no network."""
    folder = Path(backbone).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists() or not _is_id(backbone):
        raise GeneratorError(f"{key}: there is no folder {backbone!r}; give a folder in the diffusers format, or a hub id")
    from huggingface_hub import snapshot_download

    offline = os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in ("1", "true", "yes", "on")
    try:
        found = snapshot_download(backbone, allow_patterns=WANTED, ignore_patterns=UNWANTED, local_files_only=offline)
    except Exception as error:  # the hub's client raises a dozen kinds, from sockets to validation
        why = "HF_HUB_OFFLINE is set and it is not in the cache" if offline else _short(error)
        raise GeneratorError(
            f"{key}: {backbone!r} is no folder here and could not be fetched from the hub ({why}); give a local folder"
        ) from None
    return Path(found)


def made(name: str) -> Any:
    """A class of diffusers by its name: imported when it is needed, and untyped as it is."""
    import diffusers

    return getattr(diffusers, name)


def _is_id(name: str) -> bool:
    owner, _, rest = name.partition("/")
    return bool(owner) and bool(rest) and "/" not in rest and not name.startswith((".", "~", "/")) and "\\" not in name


def kind_of(folder: Path, name: str) -> Kind:
    """What kind of backbone a folder holds.

    Raises GeneratorError when it is no diffusers checkpoint, or one of a kind that is not known."""
    if (folder / ENVELOPE).is_file():
        return "own"
    index = _json(folder / "model_index.json")
    config = _json(folder / "config.json")
    if index is None and config is None:
        raise GeneratorError(
            f"backbone: {name!r} is no diffusers checkpoint (no model_index.json or config.json); convert it first"
        )
    if index is None:
        alone = str((config or {}).get("_class_name"))
        if alone == "UNet2DModel":
            return "pixel"
        raise GeneratorError(f"backbone: {name!r} holds a {alone} alone; give a UNet2DModel or a whole pipeline's folder")
    named = index.get("unet")
    unet = named[1] if isinstance(named, list) and len(named) == 2 else None
    if unet == "UNet2DModel":
        return "pixel"
    if unet == "UNet2DConditionModel" and index.get("text_encoder_2") is None and index.get("vae") is not None:
        inner = _json(folder / "unet" / "config.json") or {}
        return "inpaint" if inner.get("in_channels") == 9 else "text"
    said = index.get("_class_name") or "pipeline without a name"
    raise GeneratorError(
        f"backbone: {name!r} is a {said}, which cannot be fine-tuned here; give a DDPM or a Stable Diffusion 1 or 2"
    )


def pixel(folder: Path, name: str) -> tuple[Any, Any]:
    """UNet2DModel and training schedule of a pixel backbone; a UNet alone gets the schedule of DDPM."""
    with opening(name):
        if (folder / "model_index.json").is_file():
            unet = made("UNet2DModel").from_pretrained(folder, subfolder="unet", local_files_only=True)
            return unet, made("DDPMScheduler").from_pretrained(folder, subfolder="scheduler", local_files_only=True)
        return made("UNet2DModel").from_pretrained(folder, local_files_only=True), made("DDPMScheduler")()


def stable(folder: Path, name: str) -> Stable:
    """The parts of a Stable Diffusion, in float32 and on the CPU."""
    from transformers import CLIPTextModel, CLIPTokenizer

    with opening(name):
        if not (folder / "tokenizer").is_dir():  # one without words would be made up in its place
            raise OSError("it has no folder tokenizer")
        unet = made("UNet2DConditionModel").from_pretrained(folder, subfolder="unet", local_files_only=True)
        vae = made("AutoencoderKL").from_pretrained(folder, subfolder="vae", local_files_only=True)
        text: Any = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", local_files_only=True)
        words = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
        schedule = made("DDPMScheduler").from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    return Stable(unet, vae.eval().requires_grad_(False), text.eval().requires_grad_(False), words, schedule, scale)


def controller(where: str, unet: Any) -> Any:
    """The ControlNet of a folder or hub id, checked to fit the UNet.

    Raises GeneratorError when it is none, or was made for another backbone."""
    folder = located(where, "control")
    if (_json(folder / "config.json") or {}).get("_class_name") != "ControlNetModel":
        raise GeneratorError(f"control: {where!r} holds no ControlNet in the diffusers format; give one, or control: train")
    with opening(where):
        net = made("ControlNetModel").from_pretrained(folder, local_files_only=True)
    for key in ("cross_attention_dim", "block_out_channels"):
        if _plain(net.config[key]) != _plain(unet.config[key]):
            raise GeneratorError(
                f"control: {where!r} was made for another backbone ({key} {net.config[key]}); train one instead"
            )
    return net


def digest(unet: Any) -> str:
    """What tells one backbone from another: the sha256 of the names, shapes and first values of its weights."""
    known = hashlib.sha256()
    for name, value in sorted(unet.state_dict().items()):
        few = value.flatten()[:64].float().cpu().numpy().tobytes()
        known.update(f"{name}{tuple(value.shape)}".encode() + few)
    return known.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let diffusers and transformers show no progress bars and no advice, and leave no trace in global randomness."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    shown = [(lib, lib.is_progress_bar_enabled(), lib.get_verbosity()) for lib in (ours, theirs)]
    for lib, _, _ in shown:
        lib.disable_progress_bar()
        lib.set_verbosity(lib.CRITICAL)  # what fails is told in a sentence of our own
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for lib, bar, level in shown:
            lib.set_verbosity(level)
            if bar:
                lib.enable_progress_bar()


@contextlib.contextmanager
def opening(name: str) -> Iterator[None]:
    """Load parts of a checkpoint quietly. Raises GeneratorError when they are damaged."""
    try:
        with quiet():
            yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        raise GeneratorError(f"{name!r} is damaged or incomplete ({_short(error)}); fetch or convert it again") from None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120].rstrip(" .") or type(error).__name__
