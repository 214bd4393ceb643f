"""Is the site whole, and does it ask nothing of the network?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: What a browser fetches by itself: links that are clicked are not of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*\bsrc=["']?(https?:)?//|<link(?![^>]*rel=["']?canonical)[^>]*href=["']?https?://"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)
    assert ended.returncode == 0 and "WARNING" not in ended.stderr, ended.stderr
    return folder


@pytest.mark.timeout(900)
def test_no_page_fetches_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        assert not FETCHED.search(page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:|@import", style.read_text()), style


def test_the_code_says_what_it_is(site: Path) -> None:
    """A verb with an option of its own, a key with its meaning, a check of the gate, a section of the README, a decision."""
    for page, said in {
        "reference/cli.html": ("counterpoise prune", "--dry-run", "Only say what would be taken away"),
        "reference/plan.html": ("detect", "Smallest mode, as a share of the judged rows", "generator: tilt"),
        "reference/api/validators.html": ("validators.modes", "Is a region of the real data missing"),
        "families.html": ("Let trials decide", "bends the ranks of all columns"),
        "decisions/index.html": ("0001 A flat application",),
    }.items():
        text = (site / page).read_text()
        for part in said:
            assert part in text, (page, part)


def test_nothing_of_the_workshop_is_in_it(site: Path) -> None:
    assert not [
        path for path in site.rglob("*") if path.suffix == ".py" or path.parent.name == "benchmarks" and path.suffix == ".json"
    ]


def test_lines_of_fields_become_a_list() -> None:
    """A sentence that goes on in the next line with `word: ` stays a sentence."""
    code = "import sys; sys.path.insert(0, 'docs/site'); from prose import listed; print(listed(sys.stdin.read()))"
    text = "A row.\n\nage: in years,\nwhole ones. town: where.\nname, other: both.\nAn end that says\nthis: is no field"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=text, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == (
        "A row.\n\n- `age`: in years,\n  whole ones. town: where.\n- `name, other`: both.\n"
        "  An end that says\n  this: is no field"
    )
