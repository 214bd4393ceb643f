"""What would a defect look like elsewhere on a good part? Its patch is laid where the surroundings fit, and blended in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np
import pyarrow as pa

from data.dataset import Dataset
from data.images import Pictures
from generators import _stored as stored
from generators.base import SILENT, Condition, GeneratorError, Progress, Traits, seal, unseal
from generators.image._find import bare_classes, marked
from generators.image._masks import Places
from generators.image._paste_learn import more, weighed
from generators.image._paste_scene import Blend, Scene, Style, check_marks, good_label
from generators.image._pictures import Facts, fingerprint, learned, read_json, write_json

__all__ = ["Paste"]

Patches = Literal["real", "gan", "diffusion"]
SCENE, STATE = "scene.npz", "state.json"


@dataclass
class Paste:
    """Defects cut out of few pictures, or drawn like them, and pasted on good ones; from one picture of a defect on.

    What lies around a mask decides where its patch fits: of many good pictures, at all places where the class's defects
    lie, one is taken whose surroundings look alike (a bite out of a trace then lies on the edge of a trace). Every pixel
    outside the mask stays as it was; only where train's marks are so tight that the soft edge of their defects lies outside,
    up to four pixels of edge are pasted too. Black and white pictures stay black and white. Where the marks of a class are
    boxes, the defect in each is found first, and drawn pictures are marked by boxes too. A class without any marks has its
    defects found where they look like no good picture, and is drawn without marks. The source of a drawn picture is
    that of the good one. Asked for good pictures, it mends a piece of one with a piece of another.

    Sources: Perez et al. 2003 (Poisson blending); Ghiasi et al. 2021 (simple copy-paste); Dvornik et al. 2018 (context
    matters); the choice of a place is exemplar matching as in Criminisi et al. 2004.

    A saved model holds the good pictures and the defects of train.

    Fields:
        normal: the class of good pictures; found by its name, or by its empty masks, if left out.
        patches: "real" pastes what was cut out, "gan" and "diffusion" what they learned to draw at the mask's crop, as
            well; that takes minutes.
        blend: "matte" adds the defect to the good picture's own texture, of which it hides as much as the class's defects do
            (a hole all of it, a stain some, a dent none), "residual" as if they hid none, "bare" does so without the texture
            that the defect's own surface has, "poisson" replaces the texture, "mixed" keeps the stronger gradient of both,
            "copy" lays it over; auto: "copy" for black and white pictures, else "matte".
        soft_edge: where train's marks leave a soft edge outside, paste it too; False: never touch a pixel outside the mask.
        places: "real" where the class's defects lie, "uniform" anywhere.
        candidates: good pictures that are compared for one paste; choices: how many of the best are drawn from.
        vary: how much patches are turned, scaled, bent and strengthened, against the class's own spread; 0 not at all.
        mix: how often a defect is mixed with another one of its class.
        real: how often a patch is a real one where others were learned. drawn: patches drawn of each class.
        steps, batch_size, width, latent, look_every: of the network that learns patches;
            None leaves them to it. checkpoint_seconds: how often its state is written. device: "auto", "cpu", "cuda".
    """

    modality: ClassVar[str] = "image"
    exact_conditions: ClassVar[bool] = True
    traits: ClassVar[Traits] = Traits(
        kind="cut and paste",
        rows=10,
        rows_of_class=2,
        gain=0.345,
        photorealistic=True,
        fails=("privacy", "diversity"),
    )
    paints: ClassVar[bool] = True

    normal: str | None = None
    patches: Patches = "real"
    blend: Blend = "auto"
    soft_edge: bool = True
    places: Places = "real"
    candidates: int = 64
    choices: int = 4
    vary: float = 1.0
    mix: float = 0.25
    real: float = 0.5
    drawn: int = 96
    steps: int | None = None
    batch_size: int | None = None
    width: int | None = None
    latent: int | None = None
    look_every: int | None = None
    checkpoint_seconds: float = 30.0
    device: str = "auto"

    def fit(self, train: Dataset, *, seed: int, progress: Progress = SILENT, checkpoint: Path | None = None) -> Self:
        """Cut out the defects and, where patches are drawn, learn them; a killed training goes on from `checkpoint`.

        Raises GeneratorError for rows of a table, without good pictures, or for a defect without a mask or box."""
        known, self.facts_, self.bare_ = self._known(train, seed)
        good = good_label(self.facts_)
        self.scene_ = Scene.of(known, good, np.random.default_rng([seed % 2**63, 11]), soft=self.soft_edge, progress=progress)
        progress.advance(1, 1, "patches", patches=float(len(self.scene_.patches)))
        if self.patches != "real":
            mark = fingerprint(train, self, seed)[:16] if checkpoint else ""
            own = self.scene_.patches
            learnt = more(
                own, self.facts_.classes, self.patches, self.drawn, self.facts_.size, seed=seed, progress=progress,
                checkpoint=checkpoint / mark if checkpoint else None, steps=self.steps, batch_size=self.batch_size,
                width=self.width, latent=self.latent, look_every=self.look_every,
                checkpoint_seconds=self.checkpoint_seconds, device=self.device,
            )  # fmt: skip
            self.scene_.stock(weighed(own, learnt, self.real))
        return self

    def refuse(self, train: Dataset) -> None:
        """Raises what `fit` would: GeneratorError for settings or data from which nothing can be pasted."""
        self._known(train, 0)

    def sample(self, n: int, *, where: Condition | None = None, seed: int) -> Iterator[pa.RecordBatch]:
        """Exactly `n` pictures in batches of at most 256, with masks.

        Raises GeneratorError for a condition on anything but the class, or a class that was not learned."""
        yield from self.facts_.sample(n, where=where, seed=seed, draw=self._draw)

    def save(self, folder: Path) -> None:
        """Write the good pictures, the patches and the masks, and the envelope."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = self.scene_.to_state()
        np.savez_compressed(folder / SCENE, **arrays)
        state = {"facts": self.facts_.to_json(), "sources": list(self.scene_.sources)}
        write_json(folder / STATE, state | {"bare": list(self.bare_)})
        seal(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read back what `save` wrote; no pickled code is run."""
        family = cls(**unseal(folder)["settings"])
        state = read_json(folder / STATE)
        family.facts_, family.bare_ = Facts.from_json(state["facts"]), tuple(state["bare"])
        with stored.arrays(folder / SCENE) as arrays:
            family.scene_ = Scene.from_state({name: arrays[name] for name in arrays.files}, tuple(state["sources"]))
        return family

    def _known(self, train: Dataset, seed: int) -> tuple[Pictures, Facts, tuple[bool, ...]]:
        """The pictures, all defects of them marked; what is known of them; whether a class came without any mask."""
        self._check()
        known = learned(train)
        facts = Facts.of(known, self.normal)
        bare = bare_classes(known)
        known = marked(known, good_label(facts), seed)
        check_marks(known, facts)
        # Good pictures need no masks; where no defect has one either, none of any class is handed out.
        whole = all(k in bare for k, name in enumerate(facts.classes) if facts.shares[k] and name != facts.normal)
        return known, facts, tuple(k in bare and (whole or name != facts.normal) for k, name in enumerate(facts.classes))

    def _check(self) -> None:
        for name, allowed in (("patches", Patches), ("blend", Blend), ("places", Places)):
            if getattr(self, name) not in get_args(allowed):
                raise GeneratorError(f"generator.{name}: {getattr(self, name)!r} is none of {', '.join(get_args(allowed))}")
        for name in ("candidates", "choices", "drawn"):
            if getattr(self, name) < 1:
                raise GeneratorError(f"generator.{name}: {getattr(self, name)} is less than 1; leave it out for the default")
        if self.vary < 0 or not 0 <= self.mix <= 1 or not 0 <= self.real <= 1:
            raise GeneratorError(
                "generator: vary must not be below 0, mix and real lie in 0 to 1; leave them out for the defaults"
            )

    def _draw(
        self, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, Sequence[np.ndarray | None], Sequence[str | None]]:
        style = Style(self.blend, self.places, self.candidates, self.choices, self.vary, self.mix)
        good = self.facts_.normal
        made = [
            self.scene_.mended(rng, style) if self.facts_.classes[k] == good else self.scene_.pasted(int(k), rng, style)
            for k in labels
        ]
        pixels = np.stack([one[0] for one in made]) if made else np.zeros((0, *self.scene_.goods.shape[1:]), dtype=np.uint8)
        masks = [None if self.bare_[k] else one[1] for k, one in zip(labels, made, strict=True)]
        return pixels, masks, [one[2] for one in made]
