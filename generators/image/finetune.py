"""What would this defect look like on one of my good parts? A denoiser fine-tuned on the few pictures there are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import torch

from data.dataset import Dataset
from data.images import Pictures, fitted, fitted_mask
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal, unseal
from generators.image import _backbone
from generators.image._boxed import refined
from generators.image._own import HOLES, Own
from generators.image._pictures import Facts, fingerprint, learned, read_json, torch_seed, write_json
from generators.image._surfaces import Surfaces, missing
from generators.image._windows import around, changed, cut, pasted, working_side

__all__ = ["FineTune"]

Array = np.ndarray
Drawn = tuple[Array, Sequence[Array | None], Sequence[str | None]]
STATE = "state.json"
SHAPES = "shapes.npz"


@dataclass
class FineTune:
    """Defects painted into masks on good pictures, or whole pictures, by a denoiser tuned on the few that there are.

    Without a backbone, a small denoiser of our own first learns to mend holes in the surfaces of train, which needs no
    label, then the defects of all classes at once, with losses weighted to the defect and its place. A drawn picture is a
    good picture of train (its `source`), changed inside a mask drawn from the real masks' distribution and nowhere else:
    every other pixel is exactly what it was. Where marks are boxes, the defects' own pixels are found and painted, and a
    box is drawn around them; where they are so tight that a soft edge of the defects lies outside, up to four pixels of edge
    are painted beyond the mask. With 20 pictures of a defect at 64 px it takes about four minutes on two idle cores; it then
    paints some 20 pictures a second.

    A backbone in the diffusers format is tuned as its kind allows: a pixel UNet and Stable Diffusion draw whole pictures,
    Stable Diffusion for inpainting paints into masks (at its own resolution, in a window around the mask; the decoder's
    edge is softened over a pixel inside the mask, and outside nothing changes). Adapters are kept as
    `pytorch_lora_weights.safetensors`, which `load_lora_weights` of any diffusers pipeline reads.

    A saved model that paints holds the good pictures of train and all masks: with `purpose: release` these are published
    in effect. It reads its backbone from where the plan names it.

    Sources: Salimans and Ho 2022 (v and its sampler); DefectFill, arXiv 2503.13985 (weighted losses, masks and object);
    Hu et al. 2021 (LoRA); Ruiz et al. 2022 (prior preservation); Ho and Salimans 2022 (guidance); Zhang et al. 2023
    (ControlNet).

    Fields:
        backbone: a folder in the diffusers format, a hub id, or a saved small denoiser to go on from (its surfaces are then
            not learned again); None for a fresh small denoiser.
        method: all weights ("full") or adapters ("lora"); auto: adapters for Stable Diffusion, else all.
        task: "inpaint" paints defects on good pictures, "whole" draws pictures; auto: paints where it can.
        window: most pixels a side that the small denoiser works at; a larger mask is painted smaller. width: its finest
            layer's channels, a multiple of 8. resolution: pixels a side for Stable Diffusion; None: its own.
        rank: of new adapters. lora: adapters to begin with, a folder or file.
        prompt: the text of a class, with {class} in it. prior_prompt: of what must not be forgotten, the surface.
        prior_weight: how much good surfaces (inpainting) or the backbone's own pictures (text) count while defects are
            learned; 0 leaves them out. prior_pictures: how many of the latter, or of encoded good ones.
        defect_weight, object_weight: the loss inside the mask, and on the whole object softly masked.
        control: a ControlNet's folder or hub id, or "train" for one from the backbone. control_on: masks, or edges.
        soft_edge: where train's marks leave a soft edge outside, paint it beyond the mask; False: never touch a pixel there.
        refine_mask: give as mask only the part of it that visibly changed.
        guidance: of the class against any, 1 is none. evaluations: of the network for each picture, guided ones twice.
        normal: the class of good pictures, where its name or its masks do not say.
        pretrain_steps, steps: on surfaces and on defects; None: enough for 64 px. 0 steps learn surfaces alone.
        batch_size, lr: None: what fits, and what is usual. checkpointing: of gradients, saves memory; None: on a GPU.
        ema, precision, device, look_every, checkpoint_seconds: see `_loop.Rules`.

    Learned: `facts_`, `way_` (the denoiser), `surfaces_` (what is painted on, None for whole pictures)."""

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    distributed: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="diffusion, fine-tuned",
        rows=10,
        rows_of_class=5,
        gain=0.34,
        passes=20,
        fails=("slow", "privacy"),
    )
    warm: ClassVar[str] = "backbone"
    paints: ClassVar[bool] = True  # on good pictures, so none of those is drawn

    backbone: str | None = None
    method: Literal["auto", "full", "lora"] = "auto"
    task: Literal["auto", "whole", "inpaint"] = "auto"
    window: int = 64
    width: int = 32
    resolution: int | None = None
    rank: int = 16
    lora: str | None = None
    prompt: str = "a close-up photo of a surface with a {class} defect"
    prior_prompt: str = "a close-up photo of a surface"
    prior_weight: float = 0.5
    prior_pictures: int = 64
    defect_weight: float = 1.0
    object_weight: float = 0.2
    control: str | None = None
    control_on: Literal["mask", "edges"] = "mask"
    soft_edge: bool = True
    refine_mask: bool = False
    guidance: float = 1.0
    evaluations: int = 12
    normal: str | None = None
    pretrain_steps: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    checkpointing: bool | None = None
    ema: float = 0.998
    precision: Literal["auto", "no", "bf16"] = "auto"
    device: str = "auto"
    look_every: int = 400
    checkpoint_seconds: float = 30.0

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Tune on the pictures of train; with `checkpoint`, go on from what a killed fit left.

        Raises GeneratorError for a backbone that is none or cannot be fetched, a LoRA or ControlNet of another base,
        painting without good pictures or without masks, and settings that contradict each other."""
        pictures, facts, kind, paints = self._known(train)
        self.facts_ = facts
        told: dict[str, Any] = {
            "seed": seed, "progress": progress, "checkpoint": checkpoint, "fingerprint": fingerprint(train, self, seed)
        }  # fmt: skip
        # Classes whose known masks are all empty, as good ones have, are drawn with an empty mask.
        self.marked_ = tuple(bool(pictures.masks[pictures.labels == k].any()) for k in range(len(facts.classes)))
        self.surfaces_ = None
        if paints:
            pictures, boxes = refined(pictures, facts, seed=seed, soft=self.soft_edge)
            self.surfaces_ = Surfaces.of(pictures, facts, boxes)
            pictures = replace(pictures, masks=boxes.holes(pictures.masks, pictures.labels))
        self.shapes_: dict[str, Any] = {}
        if kind in (None, "own"):
            holes = (
                self.surfaces_.holes(HOLES, np.random.default_rng([seed % 2**63, 7])) if self.surfaces_ else pictures.masks[:0]
            )
            self.way_: Any = Own.fit(pictures, facts, self, holes, **told)
        elif kind == "pixel":
            from generators.image._pixel import Pixel

            self.way_ = Pixel(self, facts.channels, len(facts.classes), masked=bool(pictures.masked.any()), seed=seed)
            self.way_.fit(pictures, self, **told)
        else:
            self._fit_stable(pictures, told)
        return self

    def refuse(self, train: Dataset) -> None:
        """Raises what `fit` would, save of a backbone that is not here yet: GeneratorError."""
        if self.backbone is None or Path(self.backbone).exists():
            self._known(train)
        else:
            self._check()

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures; a condition on the class is drawn directly."""
        return self.facts_.sample(n, where=where, seed=seed, draw=self._painted if self.surfaces_ else self._whole, rows=64)

    def save(self, folder: Path) -> None:
        """Write the denoiser, and what it paints on: the good pictures of train and the masks."""
        folder.mkdir(parents=True, exist_ok=True)
        way = self.way_.save(folder)
        if self.surfaces_ is not None:
            self.surfaces_.save(folder)
        if self.shapes_:
            np.savez_compressed(folder / SHAPES, **self.shapes_)
        state = {"kind": type(self.way_).__name__, "way": way, "facts": self.facts_.to_json(), "marked": list(self.marked_)}
        write_json(folder / STATE, state)
        seal(folder, self, inner=_inner(folder))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote. Raises GeneratorError for a changed file, or a backbone that is gone."""
        envelope = unseal(folder)
        if envelope.get("inner") != (found := _inner(folder)):
            differs = sorted(set(envelope.get("inner", {}).items()) ^ set(found.items()))[0][0]
            raise GeneratorError(f"{folder / differs} is missing or was changed after it was saved; fit the model again")
        made = cls(**envelope["settings"])
        state = read_json(folder / STATE)
        made.facts_, made.marked_ = Facts.from_json(state["facts"]), tuple(state["marked"])
        made.surfaces_ = Surfaces.load(folder) if (folder / "surfaces.npz").is_file() else None
        made.shapes_ = {}
        if (folder / SHAPES).is_file():
            with stored.arrays(folder / SHAPES) as arrays:
                made.shapes_ = {name: arrays[name] for name in arrays.files}
        made.way_ = _way(state["kind"]).load(folder, state["way"], made)
        return made

    def _check_numbers(self) -> None:
        """Settings that are out of bounds, each told in a sentence."""
        least = {
            "steps": 0, "pretrain_steps": 0, "prior_pictures": 0, "prior_weight": 0, "defect_weight": 0, "object_weight": 0,
            "batch_size": 1, "rank": 1, "width": 1, "resolution": 1, "look_every": 0, "guidance": 0,
        }  # fmt: skip
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not value >= low:
                raise GeneratorError(f"generator.{name}: {value} is less than {low}; leave it out for the default")
        if self.lr is not None and not 0 <= self.lr < 1:
            raise GeneratorError(f"generator.lr: {self.lr} does not lie from 0 to below 1; leave it out for the usual one")
        if not 0 <= self.ema < 1:
            raise GeneratorError(f"generator.ema: {self.ema} does not lie from 0 to below 1; leave it out for the default")

    def _check(self) -> None:
        """Settings that contradict each other, each told in a sentence."""
        self._check_numbers()
        if "{class}" not in self.prompt:
            raise GeneratorError(f"prompt: {self.prompt!r} does not name the class; write {{class}} where its name belongs")
        if self.evaluations < 2 or self.window < 8:
            raise GeneratorError("evaluations must be 2 or more, and window 8 or more; leave them out for usual ones")
        if self.backbone is None:
            for name, value, free in (
                ("control", self.control, None),
                ("lora", self.lora, None),
                ("method", self.method, "auto"),
            ):
                if value != free and value != "full":
                    raise GeneratorError(f"{name}: {value!r} needs a backbone to work on; name one, or leave {name} out")
        if self.lora is not None and self.method == "full":
            raise GeneratorError("lora: adapters to begin with need method: lora, not full; change one of them")

    def _known(self, train: Dataset) -> tuple[Pictures, Facts, str | None, bool]:
        """The pictures, what is known of them, the backbone's kind, and whether defects are painted on good ones."""
        self._check()
        pictures = learned(train)
        facts = Facts.of(pictures, self.normal)
        kind = None if self.backbone is None else _backbone.kind_of(_backbone.located(self.backbone), self.backbone)
        paints = self._paints(kind, pictures, facts)
        if paints and (why := missing(pictures, facts)):
            raise GeneratorError(why)
        return pictures, facts, kind, paints

    def _paints(self, kind: str | None, train: Pictures, facts: Facts) -> bool:
        """Whether defects are painted on good pictures, rather than whole pictures drawn."""
        able = kind in (None, "own", "inpaint")
        if self.task == "inpaint" and not able:
            what = "a pixel UNet" if kind == "pixel" else "a Stable Diffusion from text alone"
            raise GeneratorError(
                f"backbone: {self.backbone!r} is {what} and cannot paint into a mask; set task: whole, or give one that can"
            )
        if self.task == "whole" and kind == "inpaint":
            raise GeneratorError(
                f"backbone: {self.backbone!r} paints into masks; set task: inpaint, or give one that draws from text"
            )
        if self.control is not None and kind in ("pixel", "own"):
            raise GeneratorError(
                f"control: {self.backbone!r} is no Stable Diffusion, which alone a ControlNet steers; leave it out"
            )
        if self.lora is not None and kind == "own":
            raise GeneratorError(f"lora: {self.backbone!r} is a small denoiser, which takes no adapters; leave lora out")
        if self.control is not None and self.control_on == "edges" and kind == "inpaint":
            raise GeneratorError("control_on: edges steer whole pictures; a painted mask is steered by control_on: mask")
        if self.task != "auto" or kind not in (None, "own"):
            return able and self.task != "whole"
        return missing(train, facts) is None

    def _fit_stable(self, train: Pictures, told: dict[str, Any]) -> None:
        from generators.image import _encoded as rows_of
        from generators.image._stable import Latent

        way = self.way_ = Latent(self, self.facts_.classes, self.control, seed=told["seed"])
        surfaces, seed = self.surfaces_, told["seed"]

        def make() -> Any:
            if surfaces is not None:
                return rows_of.inpaint_rows(way, train, surfaces, self, least=self._least(), seed=seed)
            return rows_of.whole_rows(way, train, self, seed=seed)

        rows, chances = rows_of.cached(told["checkpoint"], told["fingerprint"], make)
        way.adapt(self, seed)
        way.fit(rows, self, weights=chances, **told)
        if surfaces is None and self.control is not None:
            self._remember_shapes(train)

    def _remember_shapes(self, train: Pictures) -> None:
        """What whole pictures are steered by later: the masks' bank, or the edges of the training pictures."""
        from generators.image._encoded import edges
        from generators.image._masks import MaskBank

        if self.control_on == "mask":
            self.shapes_ = {f"bank_{name}": value for name, value in MaskBank.fit(train).to_state().items()}
        else:
            sources = np.array([source or "" for source in train.sources or [""] * len(train)])
            self.shapes_ = {"edges": edges(train.pixels), "labels": train.labels, "sources": sources}

    def _least(self) -> int:
        """The narrowest window around a mask, in pixels of the pictures."""
        assert self.surfaces_ is not None
        return working_side(self.surfaces_.bank.masks, self.facts_.size, self.window)

    def _painted(self, labels: Array, rng: np.random.Generator) -> Drawn:
        """Good pictures with a defect of each label painted into a mask."""
        surfaces = self.surfaces_
        assert surfaces is not None
        where, marked = surfaces.chosen(labels, rng)
        holes = surfaces.boxes.holes(marked, labels)
        seed, small = torch_seed(rng), isinstance(self.way_, Own)
        least = self.way_.side if small else self._least()
        windows = [around(hole, least) for hole in holes]
        cuts = [
            cut(surfaces.pixels[i], hole, window, self.way_.side) for i, hole, window in zip(where, holes, windows, strict=True)
        ]
        pixels, gaps = (np.stack(part) for part in zip(*cuts, strict=True))
        made = (
            self.way_.paint(pixels, gaps, labels, seed=seed, family=self)
            if small
            else self._inpainted(pixels, gaps, labels, seed)
        )
        out = np.stack([
            pasted(surfaces.pixels[i], hole, window, one, soft=0 if small else 1)
            for i, hole, window, one in zip(where, holes, windows, made, strict=True)
        ])  # fmt: skip
        out = np.stack([surfaces.boxes.snapped(one, hole) for one, hole in zip(out, holes, strict=True)])
        if self.refine_mask:
            marked = np.stack([changed(surfaces.pixels[i], one, mark) for i, one, mark in zip(where, out, marked, strict=True)])
        marks = [surfaces.boxes.around(mark, int(k), rng) for k, mark in zip(labels, marked, strict=True)]
        masks = [np.zeros_like(mark) if k == surfaces.good else mark for k, mark in zip(labels, marks, strict=True)]
        return out, masks, [surfaces.sources[i] for i in where]

    def _inpainted(self, pixels: Array, holes: Array, labels: Array, seed: int) -> Array:
        """Windows painted by a Stable Diffusion; good ones by the text of the prior."""
        from generators.image._encoded import blanked, shapes, small

        assert self.surfaces_ is not None
        way = self.way_
        told = torch.from_numpy(np.where(labels == self.surfaces_.good, way.prior, labels).astype(np.int64))
        masked = way.encode(blanked(pixels, holes), self)
        rows = {"masked": masked, "hole": small(holes, masked.shape[2]).to(torch.uint8)}
        if way.control is not None:
            rows["shape"] = shapes(pixels, holes, way.side, "mask")
        made: Array = way.draw(told, rows, seed=seed, family=self, channels=self.facts_.channels)
        return made

    def _whole(self, labels: Array, rng: np.random.Generator) -> Drawn:
        """Whole pictures of the labels, with masks where they were learned or steered by."""
        seed, size, n = torch_seed(rng), self.facts_.size, len(labels)
        masks: list[Array | None] = [None] * n
        sources: list[str | None] = [None] * n
        if type(self.way_).__name__ != "Latent":
            drawn = self.way_.draw(labels, seed=seed, family=self)
            if drawn.shape[3] > self.facts_.channels:
                soft = drawn[..., -1] >= 128
                masks = [fitted_mask(one & self.marked_[k], size, "stretch") for one, k in zip(soft, labels, strict=True)]
            drawn = drawn[..., : self.facts_.channels]
        else:
            rows = {}
            if self.shapes_:
                shapes, masks, sources = self._steered(labels, rng)
                rows = {"shape": shapes}
            told = torch.from_numpy(labels.astype(np.int64))
            drawn = self.way_.draw(told, rows, seed=seed, family=self, channels=self.facts_.channels)
        return np.stack([fitted(one, size, "stretch") for one in drawn]), masks, sources

    def _steered(self, labels: Array, rng: np.random.Generator) -> tuple[torch.Tensor, list[Array | None], list[str | None]]:
        """What a ControlNet is shown for each label, the masks that this makes known, and where edges came from."""
        from generators.image._encoded import shapes
        from generators.image._masks import MaskBank

        size, side = self.facts_.size, self.way_.side
        if "edges" in self.shapes_:
            own = [rng.choice(np.flatnonzero(self.shapes_["labels"] == k)) for k in labels]
            sources = [str(self.shapes_["sources"][i]) or None for i in own]
            return shapes(np.empty(0), self.shapes_["edges"][own], side, "mask"), [None] * len(labels), sources
        bank = MaskBank.from_state({name.removeprefix("bank_"): value for name, value in self.shapes_.items()})
        empty = np.zeros((size, size), dtype=bool)
        masks = [bank.draw(int(k), rng) if self.marked_[k] else empty for k in labels]
        return shapes(np.empty(0), np.stack(masks), side, "mask"), list(masks), [None] * len(labels)


def _way(kind: str) -> Any:
    if kind == "Own":
        return Own
    from generators.image._pixel import Pixel
    from generators.image._stable import Latent

    return Pixel if kind == "Pixel" else Latent


def _inner(folder: Path) -> dict[str, str]:
    """sha256 of the files in folders of the model's folder: a ControlNet has one of its own."""
    files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
