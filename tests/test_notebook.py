"""Does the notebook show what its cells give? `python -m tests.test_notebook` runs them and stores what they show."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

PATH = ROOT / "docs/judge.ipynb"
#: Text in place of a picture is cut here: a notebook shows it only where HTML cannot be shown.
PLAIN = 300


def run(cell: dict[str, Any], names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What a notebook would store for one code cell: what it printed, and its last expression."""
    tree = ast.parse("".join(cell["source"]))
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, cell["id"], "exec"), names)
        value = eval(compile(last, cell["id"], "eval"), names) if last else None
    said = printed.getvalue()
    out: list[dict[str, Any]] = []
    if said:
        out.append({"output_type": "stream", "name": "stdout", "text": said.splitlines(keepends=True)})
    if value is not None:
        plain = repr(value)
        data = {"text/plain": [plain if len(plain) <= PLAIN else f"{plain[:PLAIN]}…"]}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_().splitlines(keepends=True)
        out.append({"output_type": "execute_result", "execution_count": count, "data": data, "metadata": {}})
    return out


def executed() -> dict[str, Any]:
    """The notebook with the outputs of a run from top to bottom, in its own folder."""
    book = json.loads(PATH.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.chdir(PATH.parent):
        for count, cell in enumerate((c for c in book["cells"] if c["cell_type"] == "code"), start=1):
            cell |= {"outputs": run(cell, names, count), "execution_count": count}
    return book


def words(cell: dict[str, Any]) -> str:
    """All that a cell shows, without its markup and styles."""
    parts = []
    for output in cell["outputs"]:
        html = "".join(output.get("data", {}).get("text/html", []))
        parts += [re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL), "".join(output.get("text", []))]
    return " ".join(" ".join(parts).split())


def told(cell: dict[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    """What must be the same everywhere: all up to the figures, and the verdict of each check."""
    said = words(cell)
    return said.partition(" Smallest mode")[0][:400], re.findall(
        r"([a-z]+) (PASS|WARN|BLOCK|SKIPPED|ERROR|INCONCLUSIVE)\b", said
    )


def cards(book: dict[str, Any]) -> list[str]:
    return [words(cell) for cell in book["cells"] if "counterpoise" in json.dumps(cell.get("outputs", []))]


@pytest.fixture(scope="module")
def fresh() -> dict[str, Any]:
    return executed()


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    return json.loads(PATH.read_text(encoding="utf-8"))


def test_a_pass_a_block_and_too_few_rows(fresh: dict[str, Any], stored: dict[str, Any]) -> None:
    for book in (fresh, stored):
        found = cards(book)
        assert [card.split()[1] for card in found] == ["PASS", "BLOCK", "INCONCLUSIVE"]
        assert "machine=lathe has 0 % of the rows it should have" in found[1]
        assert "holdout rows would do" in found[2]


def test_what_is_stored_is_what_the_cells_give(fresh: dict[str, Any], stored: dict[str, Any]) -> None:
    """Verdict, reason, next step and each check's verdict; the last digits of figures may differ between machines."""
    for new, old in zip(fresh["cells"], stored["cells"], strict=True):
        assert new["source"] == old["source"]
        if new["cell_type"] == "code":
            assert [o["output_type"] for o in new["outputs"]] == [o["output_type"] for o in old["outputs"]]
            assert told(new) == told(old), f"{new['id']}: run `python -m tests.test_notebook`"


def test_figures_can_be_taken_out(fresh: dict[str, Any]) -> None:
    by_id = {cell["id"]: cell for cell in fresh["cells"]}
    assert "BLOCK 3" in words(by_id["findings"]) and "modes BLOCK 0.000 0.500" in words(by_id["findings"])
    culprit = "".join(by_id["culprits"]["outputs"][-1]["data"]["text/plain"])
    assert "'cell': 'machine=lathe'" in culprit and "'observed': 0.0" in culprit


def test_the_file_is_a_small_whole_notebook(stored: dict[str, Any]) -> None:
    assert (stored["nbformat"], stored["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in stored["cells"]}) == len(stored["cells"])
    assert PATH.stat().st_size < 200_000
    assert not re.search(r"/home/|/root/|/tmp/|Users", PATH.read_text(encoding="utf-8"))
    assert not [o for cell in stored["cells"] for o in cell.get("outputs", []) if o["output_type"] == "error"]


def store(path: Path = PATH) -> None:
    """Run the notebook and write what its cells show."""
    path.write_text(json.dumps(executed(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    store()
