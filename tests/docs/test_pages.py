"""Does every block of the pages in docs/ do what the page says, in order, in an empty folder?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from configs.plan import Plan
from flows.metrics import GAUGES
from flows.telemetry import INSTRUMENTS
from tests.conftest import ROOT
from tests.docs import shim

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.S | re.M)
RUN = ("bash", "python")
#: What keeps a model of seconds from being blocked: a gate that hardly ever says so.
LENIENT = "-o gate.alpha=1e-9 -o gate.detect=1.0"
PUBLISH = (
    "counterpoise init data/samples/parts.csv -t state --out my_parts.yaml\n"
    f"counterpoise run my_parts.yaml -o generator.use=smote {LENIENT}"
)


@dataclass(frozen=True)
class Page:
    """shorter: what is added to every run; later: whether a reader has a plan and a version already; says: what comes out."""

    shorter: str = ""
    later: bool = False
    says: tuple[str, ...] = ()


PAGES = {
    "index.md": Page(f"-o generator.use=smote {LENIENT}", says=(r"runs/parts/\w+/report.html",)),
    "nights.md": Page(later=True, says=(r"audited  v000001", r"would take away 0 of published/parts")),
    "operations.md": Page(later=True, says=(r"would take away 0 of published/parts")),
    "watching.md": Page(
        f"-o generator.use=smote {LENIENT}",
        later=True,
        says=(
            r"(done|skipped) publish",
            r'counterpoise_verdict\{dataset="parts",verdict="\w+"\} 1\.0',
            r"(PASS|WARN) v000001 smote",
        ),
    ),
    "tutorials/nightly.md": Page(
        f"-o generator.use=smote {LENIENT}",
        says=(r"cracked +False +102\n +True +696", r"v000002", r"audited  v000001", r"schedule 0 3", r"took away"),
    ),
    "tutorials/defects.md": Page(
        f"-o gate.utility=off {LENIENT}",
        says=(r"train \d+ Counter\(\{.*'pit': \d+", r"holdout \d+ Counter", r"instances_holdout.json"),
    ),
    "tutorials/release.md": Page(
        f"-o gate.draws=2 -o generator.marginals=4 {LENIENT}",
        says=(r"epsilon 3", r"v000001", r"clinic: epsilon 3, delta \S+ spent of 6; 3 is left", r"exit code 2", r"privacy.cap"),
    ),
}


def blocks(page: str, kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(kind, text) for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text()) if kind in kinds]


def having(*kinds: str) -> list[str]:
    """Pages of docs/ with a block of such a kind."""
    docs = ROOT / "docs"
    return [page for path in sorted(docs.rglob("*.md")) if blocks(page := path.relative_to(docs).as_posix(), kinds)]


def test_every_page_with_commands_is_known_here() -> None:
    assert set(having(*RUN)) == set(PAGES)


def desk(folder: Path) -> Path:
    """An empty folder with the sample data and a `counterpoise` that is quick."""
    (folder / "data").mkdir()
    (folder / "data/samples").symlink_to(ROOT / "data/samples")
    command = folder / "bin/counterpoise"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{shim.__file__}" "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A desk with a plan, a run and a version."""
    folder = desk(tmp_path_factory.mktemp("used"))
    done("bash", PUBLISH, folder, "")
    return folder


def done(kind: str, text: str, folder: Path, shorter: str) -> str:
    """What a block prints. Fails where one of its commands does."""
    command = ["bash", "-euo", "pipefail", "-c", text] if kind == "bash" else [sys.executable, "-c", text]
    environment = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": str(folder / "prefect"),
        "SHORTER": shorter,
    }
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr, (text, ended.stdout, ended.stderr)
    return ended.stdout + ended.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    about = PAGES[page]
    place = request.getfixturevalue("used") if about.later else desk(tmp_path)
    said = "\n".join(done(kind, text, place, about.shorter) for kind, text in blocks(page, RUN))
    for pattern in about.says:
        assert re.search(pattern, said), (pattern, said)


@pytest.mark.parametrize("page", having("sh"))
def test_what_is_not_run_is_shell_all_the_same(page: str) -> None:
    for _, text in blocks(page, ("sh",)):
        subprocess.run(["bash", "-n", "-c", text], check=True)


@pytest.mark.parametrize("page", [page for page in having("yaml") if page != "watching.md"])
def test_yaml_of_a_page_is_of_a_plan(page: str) -> None:
    for _, text in blocks(page, ("yaml",)):
        part = YAML(typ="safe").load(text)
        Plan.model_validate({"name": "page", "data": {"use": "csv", "path": "rows.csv"}, "target": "class"} | part)


def test_rules_for_prometheus_name_gauges_and_labels_that_there_are() -> None:
    scrape, rules = (YAML(typ="safe").load(text) for _, text in blocks("watching.md", ("yaml",)))
    assert scrape["scrape_configs"][0]["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    named = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    assert len(named) == 4
    for expr in named:
        ((gauge, label),) = re.findall(r"counterpoise_(\w+)(?:\{(\w+)=)?", expr)
        assert gauge in GAUGES and (not label or label in GAUGES[gauge][1]), expr
    page = (ROOT / "docs/watching.md").read_text()
    for name in GAUGES:
        assert f"counterpoise_{name}" in page or f"`_{name}" in page, name
    for name, *_ in INSTRUMENTS:
        assert f"counterpoise.{name}" in page or f"`.{name}" in page, name
