"""How results look on a terminal. All of it goes to stdout; tables fold themselves where there is no terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.away import lies
from flows.live import at_work, doing
from flows.pipes import note, unread

if TYPE_CHECKING:
    from data.export import Exported
    from data.export_series import ExportedSeries
    from flows.doctor import Health
    from flows.run import Run

COLOURS = {"PASS": "green", "WARN": "yellow", "BLOCK": "red", "INCONCLUSIVE": "magenta", "ERROR": "red", "SKIPPED": "dim"}
SHOWN_CELLS = 5


def show_outcome(folder: Path, stages: Mapping[str, Any]) -> None:
    """The end of a run: verdict, why, what next, and where report and dataset are."""
    report = json.loads((folder / "report.json").read_text())
    show_decision(report)
    published = stages["publish"]
    print(f"report   {folder / 'report.html'}")
    if (folder / "outside").is_dir():
        print(f"         for the inside: it tells of real rows; the one beside the rows, and in {folder / 'outside'}, does not")
    print(f"{'dataset' if published['version'] else 'quarantine'}  {published['uri']}")


def show_place(folder: Path) -> None:
    """Where a run lies, if that is a store."""
    if (address := lies(folder)) is not None:
        note(f"kept in  {address}")


def show_decision(report: Mapping[str, Any]) -> None:
    """The verdict of a report.json, its findings, and the worst cells."""
    console = stdout()
    console.print()
    console.print(
        Text(report["verdict"], style=f"bold {COLOURS[report['verdict']]}"),
        Text(f" {report['reason']}"),
        sep="",
        soft_wrap=True,
    )
    console.print(Text(f"next: {report['next_action']}", style="italic"), soft_wrap=True)
    console.print()
    console.print(_findings(report["findings"]))
    culprits = [c for f in report["findings"] for c in f["culprits"] if f["check"] == "modes"]
    if culprits and report["verdict"] in ("BLOCK", "WARN"):
        console.print(_cells(culprits[:SHOWN_CELLS]))
    for notice in report["lineage"].get("notices", ()):
        console.print(Text(f"note: {notice}"), soft_wrap=True)
    least = report["smallest_detectable_mode"]
    if least is not None:
        said = f"smallest mode whose absence would be noticed: {100 * least:.2g} % of what was judged"
        console.print(f"{said} (attempt {report['attempt']} on this holdout)")
    console.print()


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The verb goes on to its own exit code; the library would end it here with 1."""
        self.quiet = True
        unread(sys.stdout)


def stdout() -> Console:
    """Standard output, as wide as a terminal is."""
    # A pipe has no width of its own, and 80 columns would fold every sentence.
    return _Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def _says(finding: Mapping[str, Any]) -> str:
    """The summary, and why a figure that stands beyond its limit passes all the same."""
    from validators.report.scales import scale_named

    scale = scale_named(finding["check"], finding.get("details", {}).get("figure"))
    beyond = finding["verdict"] == "PASS" and scale.beyond(finding["value"], finding["limit"])
    return f"{finding['summary']} (beyond the limit, but by no more than chance explains)" if beyond else finding["summary"]


def _findings(findings: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("check", "verdict", "value", "limit", "real", "says", box=None, pad_edge=False, header_style="dim")
    for name in ("value", "limit", "real"):
        table.columns[("check", "verdict", "value", "limit", "real").index(name)].justify = "right"
    for f in findings:
        verdict = Text(f["verdict"], style=COLOURS[f["verdict"]])
        table.add_row(f["check"], verdict, *(_figure(f[k]) for k in ("value", "limit", "reference")), escape(_says(f)))
    return table


def _cells(culprits: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("cell", "expected", "got", "ratio", title="thinnest cells", title_justify="left", box=None, pad_edge=False)
    for c in culprits:
        table.add_row(escape(c["cell"]), _figure(c["expected"]), _figure(c["observed"]), _figure(c["ratio"]))
    return table


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def run_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """What `counterpoise runs` lists of each run."""
    rows, listed = [], list(runs)
    last = {run.folder.parent: run.folder for run in sorted(listed, key=lambda run: run.touched)}
    for run in listed:
        after = run.why_none_after if run.folder == last[run.folder.parent] else None
        stages = run.stages
        facts = {name: entry["facts"] for name, entry in stages.items() if isinstance(entry, dict)}
        rows.append(
            {
                "run": f"{run.folder.parent.name}/{run.id}",
                "when": datetime.fromtimestamp(run.touched, UTC).isoformat(timespec="seconds"),
                "family": facts.get("choose", {}).get("family"),
                "verdict": facts.get("judge", {}).get("verdict"),
                "version": facts.get("publish", {}).get("version"),
                "stage": next(reversed(facts), "begun"),
                "now": at_work(run),
                "why": run.why if after is None else f"an attempt after it could not begin: {after}",
            }
        )
    return rows


def runs_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """The runs; of one that a process works on, how far it is."""
    names = ("run", "when (UTC)", "family", "verdict", "version", "stage")
    table = Table(*names, box=None, pad_edge=False, header_style="dim")
    for row in rows:
        verdict = row["verdict"] or "-"
        # Without the seconds, so that a line fits 80 columns.
        when, family = row["when"][:16].replace("T", " "), row["family"] or "-"
        stage = Text(doing(row["now"]), style="bold") if row["now"] else Text(row["stage"])
        table.add_row(row["run"], when, family, Text(verdict, style=COLOURS.get(verdict, "")), row["version"] or "-", stage)
    return table


def show_runs(rows: Sequence[Mapping[str, Any]]) -> None:
    """The runs as a table, and below it why those were refused that were."""
    console = stdout()
    console.print(runs_table(rows) if rows else "no runs yet; `counterpoise run configs/runs/breast_cancer.yaml` makes one")
    for row in rows:
        if row["why"]:
            console.print(Text(f"{row['run']}: {row['why']}", style="dim"), soft_wrap=True)


def show_relations(folder: Path) -> None:
    """What came of tables that refer to one another: whether keys hold, tables and references real beside drawn, and files."""
    report = json.loads((folder / "relations.json").read_text())
    console = stdout()
    console.print()
    held = Text("KEYS HOLD", style="bold green") if report["keys_hold"] else Text("KEYS DO NOT HOLD", style="bold red")
    console.print(held, Text(f"; not judged: {report['not_judged']}"), sep="", soft_wrap=True)
    for fault in report["faults"]:
        console.print(Text(f"· {fault}"), soft_wrap=True)
    tables = Table("table", "real", "drawn", "shapes", "trends", "told from real (AUC)", box=None, pad_edge=False)
    for t in report["tables"]:
        tables.add_row(
            escape(t["table"]), *(f"{n:,}" for n in t["rows"]), *(_figure(t[k]) for k in ("shapes", "trends", "auc"))
        )
    keys = Table("foreign key", "children", "drawn", "childless", "drawn", "distance", box=None, pad_edge=False)
    for r in report["references"]:
        keys.add_row(escape(r["key"]), *(_figure(n) for n in (*r["children"], *r["childless"], r["distance"])))
    for table in (tables, keys):
        for column in table.columns[1:]:
            column.justify = "right"
        console.print()
        console.print(table)
    if (said := report["figures"].get("said")) is not None:
        console.print(f"\ncolumns of children and of parents say {100 * said:.0f} % of what real ones say of each other")
    print(f"\nreport   {folder / 'relations.json'}\ntables   {folder / 'tables'}")


def show_export(done: Exported | ExportedSeries) -> None:
    """What lies in an exported folder: of each part and class how many pictures, real and synthetic, or windows; then where."""
    from data.export_series import ExportedSeries

    if isinstance(done, ExportedSeries):
        windows = Table("split", "class", "windows", box=None, pad_edge=False, header_style="dim")
        windows.columns[2].justify = "right"
        for part, levels in done.parts.items():
            for level, count in sorted(levels.items()):
                windows.add_row(part, escape(level) or "-", f"{count:,}")
        stdout().print(windows)
        print(done.folder)
        return
    table = Table("split", "class", "real", "synthetic", "where", box=None, pad_edge=False, header_style="dim")
    table.columns[2].justify = table.columns[3].justify = "right"
    for part, classes in done.parts.items():
        for level, origins in sorted(classes.items()):
            figures = (f"{origins.get(origin, 0):,}" for origin in ("real", "synthetic"))
            table.add_row(part, escape(level), *figures, done.places[part])
    stdout().print(table)
    if done.unmarked:
        left = "left out, as a detector would take them for good ones" if done.to != "folder" else "among them"
        print(f"pictures of defects on which nothing is marked: {done.unmarked:,}, {left}")
    if kept := " and ".join(part for part in done.parts if part != "train"):
        print(f"train on {done.places.get('train', 'train')} alone: the real pictures of {kept} are kept for testing")
    print(done.folder)


def show_health(findings: Sequence[Health]) -> None:
    """What doctor found, and what to do."""
    table = Table("", "", box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark = Text("✓ ", style="green") if finding.well else Text("✗ ", style="red")
        said = finding.found if finding.well else f"{finding.found}\n→ {finding.remedy}"
        table.add_row(mark + finding.name, escape(said))
    stdout().print(table)


def _show_choice(console: Console, choice: Mapping[str, Any]) -> None:
    """The five questions, the families that are left, best first, and those that are out with the question that ended them."""
    from flows.choose import QUESTIONS, SOURCES

    console.print()
    for a in choice["answers"]:
        line = Text(f"{a['question']}. {QUESTIONS[a['question']]} ", style="bold")
        console.print(line, Text(a["answer"]), Text(f" ({SOURCES[a['source']]})", style="dim"), sep="", soft_wrap=True)
    table = Table("family", "", "why", box=None, pad_edge=False, header_style="dim")
    for i, each in enumerate(choice["left"]):
        first = each["family"] == choice["family"] if choice["named"] else i == 0
        mark = Text("chosen", style="bold green") if first and "bakeoff" not in choice else Text("left", style="green")
        table.add_row(escape(each["family"]), mark, escape(each["reason"]))
    # Those that draw other data altogether say nothing of the choice.
    alike: dict[tuple[int, str], list[str]] = {}
    for each in (o for o in choice["out"] if o["question"] > 1):
        alike.setdefault((each["question"], each["reason"]), []).append(each["family"])
    for (question, reason), names in alike.items():
        table.add_row(escape(", ".join(names)), Text(f"out at {question}", style="red"), escape(reason))
    if table.row_count:
        console.print(table)
    if choice["named"] and choice["left"] and choice["left"][0]["family"] != choice["family"]:
        said = f"the plan names {choice['family']}; left to the five questions it would be {choice['left'][0]['family']}"
        console.print(Text(said), soft_wrap=True)
    if choice["advice"] and "bakeoff" not in choice:
        console.print(Text(choice["advice"], style="italic"), soft_wrap=True)
    console.print()


def _personal(found: Sequence[Mapping[str, Any]]) -> Table:
    """What looks like personal data: the column, what it seems to hold, how sure that is and why, and what is done about it."""
    table = Table(
        "column", "looks like", "sure", "why", "done", title="personal data", title_justify="left", box=None, pad_edge=False
    )
    table.columns[2].justify = "right"
    for one in found:
        sure = "stated" if one["stated"] else "" if one["share"] is None else f"{100 * one['share']:.0f} %"
        table.add_row(escape(one["column"]), one["what"].replace("_", " "), sure, escape(one["why"]), one["done"])
    return table


def show_preview(facts: Mapping[str, Any]) -> None:
    """What `counterpoise plan` found out."""
    console = stdout()
    table = Table("", "", box=None, pad_edge=False, show_header=False)
    for name, said in facts["said"].items():
        table.add_row(Text(name, style="bold"), escape(said))
    console.print(table)
    if choice := facts.get("choice"):
        _show_choice(console, choice)
    if personal := facts.get("personal"):
        console.print(_personal(personal))
    for rule in facts.get("rules", ()):
        console.print(Text(f"rule {rule}"), soft_wrap=True)
    if facts["classes"]:
        seen = "smallest mode whose absence would be noticed"
        classes = Table("class", "real", "holdout", "to draw", seen, box=None, pad_edge=False)
        for c in facts["classes"]:
            least = "none, nor the whole class" if c["detectable"] is None else f"{100 * c['detectable']:.2g} % of the class"
            classes.add_row(
                escape(c["name"]), f"{c['real']:,}", f"{c['holdout']:,}", f"{c['draw']:,}", least if c["draw"] else "not judged"
            )
        console.print(classes)
    for notice in facts["notices"]:
        console.print(f"· {escape(notice)}", soft_wrap=True)
