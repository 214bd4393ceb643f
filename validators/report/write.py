"""How does a Decision come to lie on disk as report.json and report.html, whole or not at all?"""

from __future__ import annotations

import json as jsonlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import DataError

if TYPE_CHECKING:
    from data.history import History
    from validators.base import Evidence
    from validators.gate import Decision

#: One entry per epoch: {"epoch": 3, "losses": {"generator": 0.7, "critic": -0.1}}.
Training = Sequence[Mapping[str, Any]]


def write(
    decision: Decision,
    *,
    folder: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    evidence: Evidence | None = None,
    training: Training | None = None,
    choice: Mapping[str, Any] | None = None,
    title: str | None = None,
    fewest: int = 1,
) -> tuple[Path, ...]:
    """Write report.json and report.html into `folder`, and either of them to a path of its own.

    Gives the paths written.  Raises DataError when a path cannot be written.
    """
    page = None
    if folder is not None or html is not None:
        page = render_html(decision, evidence=evidence, training=training, choice=choice, title=title, fewest=fewest)
    written = [write_json(decision, path) for path in (folder and folder / "report.json", json) if path is not None]
    pages = [path for path in (folder and folder / "report.html", html) if path is not None]
    return (*written, *(_replace(path, page or "") for path in pages))


def write_json(decision: Decision, path: Path) -> Path:
    """Write the decision as strict JSON: figures that are not finite become null."""
    return _replace(path, jsonlib.dumps(_plain(decision.to_json()), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_html(
    decision: Decision,
    path: Path,
    *,
    evidence: Evidence | None = None,
    training: Training | None = None,
    choice: Mapping[str, Any] | None = None,
    title: str | None = None,
    fewest: int = 1,
) -> Path:
    """Write the page that `render_html` gives."""
    return _replace(
        path, render_html(decision, evidence=evidence, training=training, choice=choice, title=title, fewest=fewest)
    )


def render_html(
    decision: Decision,
    *,
    evidence: Evidence | None = None,
    training: Training | None = None,
    choice: Mapping[str, Any] | None = None,
    title: str | None = None,
    fewest: int = 1,
) -> str:
    """One self-contained page: no script, no network request, every chart drawn by hand as SVG.

    title: the dataset's name. choice: how the family was chosen, as choice.json says it.
    fewest: above 1, of a release: no real row, no real extreme, no bin of fewer real rows than that.
    """
    from validators.report.page import build

    view = build(decision, evidence=evidence, training=training, choice=choice, title=title, fewest=fewest)
    return _filled("page", view)


def render_card(decision: Decision) -> str:
    """A notebook's view of a decision: one block of HTML with styles that reach no farther than itself."""
    from validators.report.card import build

    return _filled("card", build(decision))


def render_history(history: History, base: str | None = "") -> str:
    """One self-contained page of all versions of a dataset. base: where they lie, as links begin; None: no links."""
    from validators.report.history import build

    return _filled("history", build(history, base), styles=("page", "history"))


def _filled(name: str, view: Mapping[str, Any], styles: Sequence[str] = ()) -> str:
    # Only a page needs the template engine; `report.json` and `--help` must not wait for it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    rooms = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = "".join((here / f"{each}.css").read_text(encoding="utf-8") for each in styles or (name,))
    return rooms.get_template(f"{name}.html").render(style=style, **view)


def _replace(path: Path, text: str) -> Path:
    beside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A category may hold half a surrogate pair, which UTF-8 cannot say.
        beside.write_text(text, encoding="utf-8", errors="replace")
        beside.replace(path)
    except OSError as error:
        if beside.is_file():
            beside.unlink()
        raise DataError(f"the report cannot be written to {path}: {error.strerror}; name another path") from None
    return path


def _plain(value: Any) -> Any:
    """Numpy scalars, sets, NaN and infinities as what JSON can say."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(v) for v in value), key=str)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
