"""Where is the history of a dataset looked at: on a page beside its versions, and on the terminal?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from configs.plan import Plan
from data.errors import UserError
from data.history import PAGE, History, history
from data.publish import Publisher
from data.remote import is_remote
from data.stores import version_number
from flows.begin import loaded
from flows.run import Run
from flows.show import COLOURS, stdout
from flows.stages.publish import make_publisher


def publisher_of(what: str, override: Sequence[str], runs: Path) -> Publisher:
    """The dataset a user means: a plan, the folder or address that holds its versions, or the name of its runs.

    Raises UserError where there is none."""
    path = Path(what)
    if is_remote(what) or (path.is_dir() and any(version_number(entry.name) for entry in path.iterdir())):
        root, _, name = (what if is_remote(what) else str(path.resolve())).rstrip("/").rpartition("/")
        return Publisher(root, name)
    if path.is_file():
        return make_publisher(loaded(path, list(override)))
    try:
        return make_publisher(Run.find(what, runs).plan)
    except UserError:
        raise UserError(
            f"{what} is no plan, no dataset's folder or address, and no run under {runs}; name one of them"
        ) from None


def looked_at(publisher: Publisher) -> History:
    """Raises UserError where nothing was published, nor set aside."""
    found = history(publisher)
    if not found.attempts:
        raise UserError(f"{found.uri} holds no version and nothing in quarantine; `counterpoise run` its plan first")
    return found


def write_page(publisher: Publisher, found: History, out: Path | None = None) -> str:
    """The page, beside the versions unless `out` is another file; where it lies.

    Raises UserError where it cannot be written."""
    from validators.report import render_history

    if out is None:
        publisher.store().put(PAGE, render_history(found))
        return publisher.uri(PAGE)
    # From elsewhere links lead to a folder; a browser follows none into a bucket.
    base = None if is_remote(found.uri) else f"{Path(found.uri).resolve().as_uri()}/"
    try:
        out.write_text(render_history(found, base), encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); name a file in a folder that exists") from None
    return str(out)


def refresh(plan: Plan) -> str | None:
    """Make the page of a plan's dataset anew; a sentence where that could not be done."""
    publisher = make_publisher(plan)
    try:
        write_page(publisher, looked_at(publisher))
    except Exception as error:  # whatever is wrong with a page, the version is published all the same
        return f"{publisher.uri(PAGE)} was not made anew: {error}"
    return None


def show_history(found: History) -> None:
    """The attempts as a table, the newest first."""
    table = Table("version", "when (UTC)", "verdict", "rows", "drawn by", "tags", "because of", box=None, pad_edge=False)
    table.header_style, table.columns[3].justify = "dim", "right"
    from validators.report.history import flagged, when

    for attempt in reversed(found.attempts):
        name = attempt.name if attempt.version else f"run {attempt.run}"
        named = [*(["LATEST"] if attempt.name == found.latest else []), *attempt.tags]
        verdict = Text(attempt.verdict, style=COLOURS.get(attempt.verdict, ""))
        rows, told = f"{attempt.rows:,}", ", ".join(flagged(attempt))
        table.add_row(escape(name), when(attempt), verdict, rows, escape(attempt.model), ", ".join(named), told)
    stdout().print(table)
    if found.left:
        print(f"{found.left:,} older ones are not shown")
