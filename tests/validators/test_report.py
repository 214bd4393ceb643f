"""Is the report whole, harmless and self-contained, whatever the data hold?"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.dataset import Dataset
from data.errors import DataError
from data.schema import Column, Schema
from validators.base import Culprit, Evidence, Finding, Intent
from validators.gate import Decision
from validators.report import columns, render_html, text, write, write_html, write_json
from validators.report import rows as report_rows
from validators.report.svg import tag

VERDICTS = ("PASS", "WARN", "BLOCK", "INCONCLUSIVE")
NASTY = "<script>alert('x')</script>, \N{PARTY POPPER} \"quoted\" & 'more'"


def decision(verdict: str = "PASS", **changes: Any) -> Decision:
    culprit = Culprit(
        cell="colour=red & size=big", expected=154.4, observed=50, ratio=0.32, ratio_ci=(0.24, 0.43), p_adjusted=1e-9
    )
    findings = (
        Finding("modes", "BLOCK" if verdict == "BLOCK" else "PASS", value=0.32, limit=0.5, reference=0.97, p_value=1e-9,
                summary="one cell of 40 is thin", culprits=(culprit,) if verdict == "BLOCK" else ()),
        Finding("copies", "WARN" if verdict == "WARN" else "PASS", value=0.02, limit=0.05, reference=0.019, summary="few"),
        Finding("privacy", "SKIPPED", summary="the purpose is augment"),
    )  # fmt: skip
    made = Decision(
        verdict=verdict,  # type: ignore[arg-type]
        reason=f"the reason of {verdict.lower()} in one sentence that says what was seen and where",
        next_action="train longer or raise the weight of colour=red, then judge a new attempt",
        smallest_detectable_mode=0.012,
        detectable={"yes": 0.03, "no": None},
        attempt=2,
        alpha=0.01,
        spent=0.0025,
        findings=findings,
        lineage={"data_sha256": "ab" * 32, "seed": 7, "model": None, "versions": {"torch": "2.13.0"}, "notices": ["few rows"]},
    )
    return replace(made, **changes)


def training() -> list[dict[str, Any]]:
    return [{"epoch": e, "losses": {"generator": 1 / e, "critic": -0.1 * e}} for e in range(1, 41)]


def dataset(n: int, seed: int, *, shift: float = 0.0) -> Dataset:
    rng = np.random.default_rng(seed)
    missing = rng.random(n) < 0.1
    table = pa.table(
        {
            "height": rng.normal(170 + shift, 10, n),
            "count": pa.array(rng.poisson(3, n), mask=missing),
            "gain": np.where(rng.random(n) < 0.9, 0.0, rng.lognormal(3, 1, n)),
            "colour": rng.choice(["red", "green", "blue"], n),
            "label": rng.choice(["yes", "no"], n, p=[0.2, 0.8]),
            "born": pa.array(rng.integers(-20_000, 20_000, n), pa.int32()).cast(pa.date32()),
        }
    )
    kinds = {"height": "numeric", "count": "integer", "gain": "numeric", "born": "datetime"}
    levels = {"colour": ("red", "green", "blue"), "label": ("no", "yes")}
    return Dataset(table, schema(table, kinds, levels, target="label"))


def schema(table: pa.Table, kinds: Mapping[str, Any], levels: Mapping[str, Any], target: str | None = None) -> Schema:
    made = [
        Column(
            name=f.name,
            kind=kinds.get(f.name, "categorical"),
            dtype=str(f.type),
            nullable=True,
            categories=levels.get(f.name, ()),
        )
        for f in table.schema
    ]
    return Schema(tuple(made), target=target)


@cache
def evidence(n: int = 400) -> Evidence:
    return Evidence(
        train=dataset(n, 1),
        reference=dataset(n, 2),
        holdout=dataset(n, 3),
        synthetic=dataset(2 * n, 4, shift=8),
        intent=Intent(),
    )


def same(data: Dataset, intent: Intent | None = None) -> Evidence:
    return Evidence(train=data, reference=data, holdout=data, synthetic=data, intent=intent or Intent())


class Page(HTMLParser):
    """Tags, attributes and words of a page; fails on tags that do not close in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split()).replace(" ,", ",")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_says_its_word_reason_and_next_step(verdict: str) -> None:
    page = Page(render_html(decision(verdict), evidence=evidence(), training=training(), title="towns"))
    assert page.named("body")[0]["class"] == verdict.lower()
    for words in (
        verdict,
        f"The reason of {verdict.lower()} in one",
        "Train longer or raise",
        "towns",
        "800",
        "1.2 %",
        "asked: 5.0 %",
        "Note Few rows.",
        "torch 2.13.0",
    ):
        assert words in page.said
    assert [a for a in page.named("svg") if a.get("role") != "img" or not a.get("aria-label")] == []


def test_the_page_is_self_contained_and_holds_no_script() -> None:
    html = render_html(decision("BLOCK"), evidence=evidence(), training=training())
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert not {"script", "iframe", "object", "img", "embed"} & {name for name, _ in page.tags}
    assert {a["href"] for _, a in page.tags if a.get("href")} <= {"data:,"} | {f"#{a['id']}" for _, a in page.tags if "id" in a}
    assert not [k for _, a in page.tags for k in a if k.startswith("on")]


def test_names_stay_words_whatever_they_hold() -> None:
    table = pa.table({NASTY: [NASTY, "a", "b", None] * 10, "y": [1.0, 2.0, 3.0, 4.0] * 10})
    data = Dataset(table, schema(table, {"y": "numeric"}, {NASTY: (NASTY, "a", "b")}, target=NASTY))
    culprit = Culprit(cell=f"{NASTY}={NASTY}", expected=10, observed=0, ratio=0.0, ratio_ci=(0.0, 0.3))
    finding = Finding(NASTY, "BLOCK", value=0.0, summary=NASTY, culprits=(culprit,))
    lineage = {NASTY: {NASTY: NASTY}}
    told = decision("BLOCK", reason=NASTY, next_action=NASTY, detectable={NASTY: 0.1}, findings=(finding,), lineage=lineage)
    html = render_html(told, evidence=same(data), title=NASTY, training=[{"epoch": 1, "losses": {NASTY: 1.0}}])
    page = Page(html)
    assert "<script" not in html
    assert page.said.count("<script>alert('x')</script>") > 8
    assert "\N{PARTY POPPER}" in page.said


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_is_one_harmless_line(words: str) -> None:
    page = Page(f"<p>{tag('text', text.clean(words), aria_label=text.clean(words))}</p>")
    assert [name for name, _ in page.tags] == ["p", "text"]
    assert page.named("text")[0]["aria-label"] == text.clean(words)
    assert not re.search(r"[\x00-\x1f\u202e]", text.clean(words))


def test_half_a_surrogate_pair_and_turned_text_are_written(tmp_path: Path) -> None:
    path = write_html(decision(reason="half \ud83c and turned \u202e text"), tmp_path / "report.html")
    assert "alf ? and turned \N{REPLACEMENT CHARACTER} text" in path.read_text(encoding="utf-8")


def test_a_decision_alone_makes_a_page() -> None:
    empty = decision("INCONCLUSIVE", findings=(), lineage={}, detectable={}, smallest_detectable_mode=None)
    page = Page(render_html(empty))
    assert "No check has run." in page.said
    assert "even the complete loss of a mode could have passed unseen" in page.said
    assert "Column by column" not in page.said


def test_the_first_screen_has_the_lineage_in_short() -> None:
    told = decision(lineage={"seed": 0, "data_sha256": "ab" * 32, "plan_sha256": "", "model": None, "versions": {"torch": "2"}})
    brief = Page(render_html(told)).said.split("of the set", 1)[0]
    assert "Lineage seed 0 data abababab" in brief
    assert "plan" not in brief.split("Lineage seed")[1].split("Worst cells")[0]


def test_no_synthetic_rows_makes_a_page() -> None:
    none = replace(evidence(), synthetic=evidence().synthetic.take([]))
    assert "INCONCLUSIVE" in Page(render_html(decision("INCONCLUSIVE"), evidence=none)).said


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("only_nan", np.full(60, np.nan), "numeric"),
        ("all_null", pa.nulls(60, pa.float64()), "numeric"),
        ("untyped", pa.nulls(60), "categorical"),
        ("no_dates", pa.nulls(60, pa.timestamp("us")), "datetime"),
        ("infinite", np.array([np.inf, -np.inf, 1.0] * 20), "numeric"),
        ("huge", np.array([1.7e308, -1.7e308, 0.0] * 20), "numeric"),
        ("wide", np.arange(60, dtype=np.int64) * 10**16, "integer"),
        ("constant", np.ones(60), "numeric"),
        ("yes", np.array([True, False, True] * 20), "boolean"),
        ("early", pa.array(range(-40_000, -40_000 + 60), pa.int32()).cast(pa.date32()), "datetime"),
        ("words", pa.array(["not", "a", "number"] * 20), "numeric"),
    ],
)
def test_odd_columns_are_drawn(name: str, values: Any, kind: str) -> None:
    table = pa.table({name: values, "x": np.linspace(0, 1, 60)})
    data = Dataset(table, schema(table, {name: kind, "x": "numeric"}, {"yes": (True, False)}))
    page = Page(render_html(decision(), evidence=same(data)))
    assert f"{name} {kind} · differs by 0.0 %, real from real 0.0 %" in page.said
    assert not [a for _, a in page.tags for v in a.values() if v and re.search(r"\b(nan|inf)\b", v)]


def test_few_rows_make_a_page() -> None:
    for n in (1, 2, 3, 6):
        few = evidence().reference.take(range(n))
        assert "PASS" in Page(render_html(decision(), evidence=same(few))).said


def test_many_columns_and_many_categories_stay_small() -> None:
    rng = np.random.default_rng(0)
    wide = pa.table({f"column {i}": rng.normal(size=500) for i in range(60)})
    page = render_html(
        decision(), evidence=same(Dataset(wide, schema(wide, {f"column {i}": "numeric" for i in range(60)}, {})))
    )
    assert "48 more columns" in page
    assert len(page.encode()) < 2_000_000
    levels = tuple(f"level {i} {'x' * 60}" for i in range(10_000))
    long = pa.table({"town": levels, "y": rng.normal(size=10_000)})
    page = render_html(decision(), evidence=same(Dataset(long, schema(long, {"y": "numeric"}, {"town": levels}))))
    assert "9,991 other" in page
    assert len(page.encode()) < 2_000_000


def test_all_at_once_stays_small() -> None:
    """200 columns, one of 10,000 levels, 60 classes, and every check with something to say about each class."""
    rng = np.random.default_rng(0)
    rows = 20_000
    columns_of: dict[str, Any] = {f"number {i} {'n' * 60}": rng.normal(size=rows) for i in range(120)}
    columns_of |= {f"word {i}": rng.choice(["a", "b", "c", "d"], rows) for i in range(78)}
    columns_of |= {
        "town": [f"town {i // 2} {'x' * 60}" for i in range(rows)],
        "kind": rng.choice([f"kind {i}" for i in range(60)], rows),
    }
    data = Dataset.from_arrow(pa.table(columns_of), target="kind")
    long = tuple(dict.fromkeys(columns_of["town"]))
    kinds = [replace(c, kind="categorical", categories=long) if c.name == "town" else c for c in data.schema]
    data = replace(data, schema=replace(data.schema, columns=tuple(kinds)))
    names = data.schema.classes()
    assert (len(data.schema), len(names), len(data.schema["town"].categories)) == (200, 60, 10_000)
    spread = [{"name": f"class {n}", "measure": m, "auc": 0.5, "scale": 1.0} for n in names for m in ("near", "to the middle")]
    reach = [
        {"name": f"class {n}", "coverage": 0.9, "real": 0.9, "clipped_density": 0.5, "real_clipped_density": 0.5} for n in names
    ]
    tests = [{"name": f"class {n}: rows among rows of other classes", "synthetic": 0.1, "real": 0.1} for n in names]
    cells = tuple(Culprit(cell="c" * 200, expected=9, observed=1, ratio=0.1) for _ in range(50))
    found = (
        Finding("modes", "BLOCK", value=0.1, culprits=cells),
        Finding("spread", "PASS", details={"scopes": spread}),
        Finding("coverage", "PASS", details={"scopes": reach}),
        Finding("labels", "PASS", details={"tests": tests}),
    )
    told = decision("BLOCK", findings=found, detectable=dict.fromkeys(names, 0.5))
    html = render_html(told, evidence=same(data), training=training() * 20)
    assert len(html.encode()) < 2_000_000
    page = Page(html)
    assert "108 more columns" in page.said and "48 more classes" in page.said


def test_a_set_as_large_as_adult_stays_under_two_megabytes() -> None:
    html = render_html(decision("BLOCK"), evidence=evidence(30_000), training=training() * 50)
    assert len(html.encode()) < 2_000_000
    assert "60,000 rows (a draw of 20,000)" in html


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert render_html(decision(), evidence=evidence()) == render_html(decision(), evidence=evidence())


def test_a_release_shows_bins_only() -> None:
    towns = ["common"] * 97 + ["the one and only"] * 3
    height = np.concatenate([np.linspace(100, 200, 98), [3.14159e7, -2.71828e7]])
    place = np.concatenate([np.linspace(0, 1, 98), [123.0, -456.0]])
    table = pa.table({"town": towns, "height": height, "place": place})
    made = schema(table, {"height": "numeric", "place": "numeric"}, {"town": ("common", "the one and only")})
    declared = replace(made["place"], low=-1, high=2, declared=frozenset({"low", "high"}))
    data = Dataset(table, replace(made, columns=(*made.columns[:2], declared)))
    shown, hidden = render_html(decision(), evidence=same(data)), render_html(decision(), evidence=same(data), fewest=5)
    assert "the one and only" in shown
    assert 'class="dots c0"' in shown
    for secret in ("the one and only", "31.4M", "-27.2M", 'class="dots'):
        assert secret not in hidden
    assert ">-1<" in hidden
    assert ">2<" in hidden
    bars = columns.compare(made["height"], *[report_rows.draw(data, seed=0)] * 3, fewest=5)
    counts = bars.real * 100
    assert np.all((counts == 0) | (counts >= 5 - 1e-9))


def test_write_puts_both_files_in_the_folder_and_where_asked(tmp_path: Path) -> None:
    written = write(decision(), folder=tmp_path / "run", json=tmp_path / "own.json", html=tmp_path / "own.html", title="towns")
    assert {p.relative_to(tmp_path).as_posix() for p in written} == {
        "run/report.json",
        "run/report.html",
        "own.json",
        "own.html",
    }
    assert (tmp_path / "own.html").read_bytes() == (tmp_path / "run/report.html").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_json_is_strict_and_tells_what_the_gate_decided(tmp_path: Path) -> None:
    odd = decision(
        findings=(Finding("modes", "PASS", value=float("nan"), details={"a": np.float64("inf"), "b": np.arange(2)}),)
    )
    value = json.loads(write_json(odd, tmp_path / "report.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert list(value)[:3] == ["verdict", "reason", "next_action"]
    assert value["findings"][0]["value"] is None


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"the report cannot be written to .*report\.json: .*; name another path"):
        write_json(decision(), tmp_path / "file" / "report.json")
