"""By what are pictures compared?

No weights can be assumed to be there, so the default is a convolutional net of fixed random weights, the same on every
machine. A second opinion is that net after it has learned the classes of the real training pictures; or a local model:
a TorchScript file, or a folder that transformers can load. Nothing is ever fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from data.errors import DataError
from data.images import Pictures
from validators import _pictures_nets as nets
from validators._pictures_crops import squares

Array = np.ndarray[Any, Any]

#: Side to which pictures are brought, that of small ones, and up to which side a picture counts as small.
CANVAS, SMALL_CANVAS, SMALL = 64, 32, 32
#: Least side of a picture that can be looked at.
LEAST_SIDE = 8
#: Input of a local model that states none, and what its pixels are normalised by (those of ImageNet).
SIDE, MEAN, SPREAD = 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: What an extractor may be besides a path.
NAMES = ("random", "trained")
HINT = "it must be random, trained, a TorchScript file, or a folder with a transformers model (config.json and weights)"


class Extractor(Protocol):
    """Turns crops into features. name: what the plan calls it; digest: sha256 of all that its answers depend on."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str: ...

    def crops(self, pixels: Array, marks: Array) -> Array:
        """(n, s, s, c) uint8 and (n, s, s) bool, all of one side s -> (n, d) float32. Equal crops give equal features."""


@dataclass(frozen=True)
class Net:
    """The convolutional net of this project, of random weights or trained ones."""

    name: str
    layers: tuple[nets.Layer, ...]
    canvas: int

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{nets.digest(self.layers)} looks {self.canvas}".encode()).hexdigest()

    @torch.no_grad()
    def crops(self, pixels: Array, marks: Array) -> Array:
        parts = []
        for rows in nets.batches(len(pixels)):
            x, m, whole = nets.canvases(pixels[rows], marks[rows], self.canvas)
            parts.append(nets.looks(self.layers, x, m, whole))
        return torch.cat(parts).numpy()


@dataclass(frozen=True)
class Local:
    """Somebody's own model. forward: (n, 3, side, side) float32, normalised -> features of any shape."""

    name: str
    digest: str
    side: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    forward: Callable[[Tensor], Any]

    @torch.no_grad()
    def crops(self, pixels: Array, marks: Array) -> Array:
        """Raises DataError when the model does not take pictures, or answers with something else than features."""
        parts = [self._some(pixels[rows]) for rows in nets.batches(len(pixels))]
        return np.concatenate(parts)

    def _some(self, pixels: Array) -> Array:
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
        x = x.expand(-1, 3, -1, -1)
        x = functional.interpolate(x, size=(self.side, self.side), mode="bilinear", antialias=True)
        middle, width = (torch.tensor(part)[None, :, None, None] for part in (self.mean, self.spread))
        try:
            found = _flat(self.forward((x - middle) / width))
        except Exception as error:  # whatever a foreign model stumbles over
            raise DataError(f"gate.extractor: {self.name} fails on a picture of {self.side} px ({_said(error)})") from None
        if found.ndim != 2 or len(found) != len(pixels) or not np.isfinite(found).all():
            raise DataError(f"gate.extractor: {self.name} must answer with finite features, one row a picture")
        return found


def load(stated: str | None, train: Pictures, *, seed: int = 0) -> Extractor:
    """The extractor that a plan states, `random` for None.

    train: the real training pictures, which `trained` learns from and whose size settles the canvas.
    Raises DataError for a name that is none, a path that is not there, or a model that cannot be loaded."""
    name = stated or NAMES[0]
    if name == "random":
        return random(train.size)
    if name == "trained":
        from validators._pictures_trained import trained

        return Net("trained", tuple(trained(random(train.size).layers, train, _canvas(train.size), seed)), _canvas(train.size))
    return _local(Path(name))


def random(size: int) -> Net:
    """The net of fixed random weights for pictures of this side in pixels."""
    return Net("random", tuple(nets.look_layers()), _canvas(size))


def _canvas(size: int) -> int:
    return SMALL_CANVAS if size <= SMALL else CANVAS


def features(extractor: Extractor, pixels: Array, marks: Array) -> Array:
    """What the extractor sees of each picture, through the square around its marks: (n, h, w, c), (n, h, w) -> (n, d).

    Raises DataError for pictures of fewer than LEAST_SIDE pixels a side."""
    return _through_squares(extractor.crops, pixels, marks)


def traces(pixels: Array, marks: Array) -> Array:
    """What a copy keeps of a picture: (n, h, w, c) uint8, (n, h, w) bool -> (n, d) float32. See `_pictures_nets.traces`."""
    layers = nets.copy_layers()

    @torch.no_grad()
    def of_crops(some: Array, masks: Array) -> Array:
        parts = []
        for rows in nets.batches(len(some)):
            x, m, whole = nets.canvases(some[rows], masks[rows], SMALL_CANVAS)
            parts.append(nets.traces(layers, x.mean(dim=1, keepdim=True), m, whole))
        return torch.cat(parts).numpy()

    return _through_squares(of_crops, pixels, marks)


def traces_digest() -> str:
    """sha256 of the net behind `traces`."""
    return nets.digest(nets.copy_layers())


def _through_squares(see: Callable[[Array, Array], Array], pixels: Array, marks: Array) -> Array:
    if pixels.shape[1] < LEAST_SIDE:
        raise DataError(f"pictures of {pixels.shape[1]} px are too small to be compared; {LEAST_SIDE} px a side are the least")
    where = squares(marks)
    out: Array | None = None
    for side in np.unique(where[:, 2]):
        rows = np.flatnonzero(where[:, 2] == side)
        cut = [(slice(t, t + side), slice(left, left + side)) for t, left, _ in where[rows]]
        crops = np.stack([pixels[i][place] for i, place in zip(rows, cut, strict=True)])
        masks = np.stack([marks[i][place] for i, place in zip(rows, cut, strict=True)])
        found = see(crops, masks)
        out = np.zeros((len(pixels), found.shape[1]), dtype=np.float32) if out is None else out
        out[rows] = found
    return np.zeros((0, 1), dtype=np.float32) if out is None else out


def _local(path: Path) -> Extractor:
    if path.is_file():
        return _scripted(path)
    if (path / "config.json").is_file():
        return _transformer(path)
    if path.is_dir():
        raise DataError(f"gate.extractor: the folder {path} holds no config.json; {HINT}")
    raise DataError(f"gate.extractor: {str(path)!r} is not here (nothing is fetched); {HINT}")


def _scripted(path: Path) -> Local:
    try:
        model = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # a file of any other kind fails in a way of its own
        raise DataError(f"gate.extractor: {path} is no TorchScript model ({_said(error)}); {HINT}") from None
    return Local(str(path), _sha256([path]), SIDE, MEAN, SPREAD, model)


def _transformer(folder: Path) -> Local:
    try:
        from transformers import AutoModel
    except ImportError:
        raise DataError("gate.extractor: a model of transformers needs that package; run `make setup`") from None
    try:
        model = AutoModel.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False).eval()
    except Exception as error:  # a missing file, an unknown type, weights of another model
        raise DataError(f"gate.extractor: {folder} cannot be loaded by transformers ({_said(error)}); {HINT}") from None
    side = getattr(model.config, "image_size", None) or SIDE
    mean, spread = _normalisation(folder / "preprocessor_config.json")
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return Local(
        str(folder), _sha256(files), int(side if isinstance(side, int) else side[0]), mean, spread,
        lambda x: model(pixel_values=x),
    )  # fmt: skip


def _normalisation(path: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    stated = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return tuple(stated.get("image_mean", MEAN)), tuple(stated.get("image_std", SPREAD))


def _flat(answer: Any) -> Array:
    """Features (n, d) of whatever a model answers: its pooled output, the mean of its tokens, or of its maps."""
    pooled = getattr(answer, "pooler_output", None)
    found = pooled if pooled is not None else getattr(answer, "last_hidden_state", answer)
    found = found[0] if isinstance(found, tuple) else found
    if found.ndim == 4:
        return np.asarray(found.mean(dim=(2, 3)).float().numpy())
    if found.ndim == 3:
        return np.asarray(torch.cat([found[:, 0], found[:, 1:].mean(dim=1)], dim=1).float().numpy())
    return np.asarray(found.float().numpy())


def _sha256(files: list[Path]) -> str:
    seal = hashlib.sha256()
    for file in files:
        seal.update(file.name.encode())
        with file.open("rb") as held:
            for part in iter(lambda: held.read(1 << 20), b""):
                seal.update(part)
    return seal.hexdigest()


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
