"""Where does a team that lives in Great Expectations read what the gate found? In Data Docs, beside the rows' own rules."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from data.errors import DataError
from validators.base import Evidence
from validators.expectations import native, sampled, session, to_frame, validate
from validators.gate import Decision
from validators.gx_gate import gate_frame, gate_suite
from validators.schema import rules
from validators.suite import CHECK as SUITE

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.file_data_context import FileDataContext

#: Rows that the pages of the schema look at: the check itself counts every row.
ROWS = 100_000

#: Data Docs take their styles from public servers; where those cannot be reached, these make the pages readable.
STYLES = """
body { margin: 0; font-family: system-ui, sans-serif; color: #212529; line-height: 1.4; }
nav.navbar { height: auto !important; } nav img { display: none; }
.container-fluid { padding: 0 1rem; } .row { display: flex; flex-wrap: wrap; }
.row > .col-12 { flex: 0 0 100%; max-width: 100%; } .row > .col-6 { flex: 0 0 50%; max-width: 50%; }
@media (min-width: 768px) { .row > .col-md-2 { flex: 0 0 16%; max-width: 16%; }
  .row > .col-md-10 { flex: 0 0 82%; max-width: 82%; padding-left: 1rem; } }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .4rem .6rem; border-top: 1px solid #dee2e6; text-align: left; vertical-align: top; }
.card, .alert, .counterpoise { border: 1px solid #d6d8db; border-radius: 4px; margin-bottom: 1rem; }
.card-header, .alert-secondary { background: #eceef0; padding: .5rem .75rem; } .card-body { padding: .5rem .75rem; }
.alert > div > h5, .alert h5, h5, h6 { font-size: 1rem; margin: .2rem 0; }
.badge { border-radius: 4px; padding: .1rem .4rem; background: #e2e6ea; color: #212529; }
.nav { list-style: none; padding: 0; margin: 0; } .text-success { color: #1e7e34; } .text-danger { color: #c82333; }
.fa-check-circle::before { content: "\\2713"; } .fa-times::before { content: "\\2717"; }
.fa-exclamation-triangle::before { content: "!"; } i.fas { font-style: normal; font-weight: bold; }
.counterpoise { margin: 1rem; padding: .5rem 1rem; } footer { display: none; }
"""
#: The library puts names from the data into its pages as they are: nothing in them may run, be sent, or be fetched but styles.
POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src * 'unsafe-inline'; font-src *; "
    "img-src 'self' data:; form-action 'none'; base-uri 'none'\">"
)


def write_docs(folder: Path, evidence: Evidence, decision: Decision) -> Path:
    """Data Docs of a decision in `folder`, which is made if it is not there; gives the path of their index page.

    Two validations: `gate` (the decision's figures, one row) and `schema` (the rules of the schema on at most ROWS of the
    synthetic rows); and as a third the user's own suite, as the check of it found it, where the plan names one.
    Nothing is sent anywhere. The pages ask public servers for styles when they are opened; where these cannot be reached
    they are plain. Scripts are switched off in them, and the index page lists the validations in a table of its own."""
    run = f"attempt {decision.attempt}"
    with session(folder) as context:
        styles = Path(context.root_directory) / "plugins/custom_data_docs/styles/data_docs_custom_styles.css"
        styles.parent.mkdir(parents=True, exist_ok=True)
        styles.write_text(STYLES, encoding="utf-8")
        suite = gate_suite(decision, detect=evidence.intent.detect)
        passed = {suite.name: bool(validate(context, gate_frame(decision), suite, rows="figures", run=run).success)}
        passed |= _schema(context, evidence, run)
        passed |= _own(context, evidence, run)
        with _heard():
            context.build_data_docs()
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        if POLICY not in text:
            page.write_text(text.replace("<head>", f"<head>{POLICY}", 1), encoding="utf-8")
    return _list(folder, decision, passed)


@contextmanager
def _heard() -> Iterator[None]:
    """The library logs what goes wrong with a page, with its trace, and leaves the page out: raised here, and said nowhere.

    Raises what the disk refused, and DataError for a page that cannot be drawn."""
    faults: list[BaseException] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            faults.append(sys.exc_info()[1] or DataError(record.getMessage().splitlines()[0]))

    voice, ear = logging.getLogger("great_expectations.render.renderer.site_builder"), Ear(logging.ERROR)
    passed_on, voice.propagate = voice.propagate, False
    voice.addHandler(ear)
    try:
        yield
    finally:
        voice.removeHandler(ear)
        voice.propagate = passed_on
    for fault in faults:
        if isinstance(fault, OSError):
            raise fault
        raise DataError(f"Data Docs of Great Expectations: a page cannot be drawn ({type(fault).__name__}: {fault})")


def _schema(context: FileDataContext, evidence: Evidence, run: str) -> dict[str, bool]:
    import great_expectations as gx

    made = evidence.synthetic
    there = [c.name for c in made.schema if (c.learned or c.kind == "id") and c.name in made.source.schema.names]
    rows = sampled(replace(made, schema=made.schema.select(there)), ROWS, evidence.intent.seed)
    asked = [rule for rule in rules(evidence) if rule.column in ("", *there)]
    whole = rows.num_rows == made.num_rows
    name = "schema" if whole else f"schema ({rows.num_rows:,} of {made.num_rows:,} rows)"
    notes = "The rules that the schema makes. The check 'schema' of the gate counts every row; "
    notes += "so do these pages." if whole else f"these pages look at {rows.num_rows:,} of {made.num_rows:,} rows."
    suite = gx.ExpectationSuite(name=name, expectations=native(asked, rows), meta={"notes": notes})
    return {name: bool(validate(context, to_frame(rows, there), suite, rows="synthetic rows", run=run).success)}


def _own(context: FileDataContext, evidence: Evidence, run: str) -> dict[str, bool]:
    """The user's own suite as the check of it found it: what was answered is shown, and not asked again."""
    if SUITE not in evidence.memo:
        return {}
    from great_expectations.core import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    suite, result = evidence.memo[SUITE]
    context.suites.add(suite)
    name = ExpectationSuiteIdentifier(name=suite.name)
    moment = RunIdentifier(run_name=run, run_time=result.meta["validation_time"])
    key = ValidationResultIdentifier(expectation_suite_identifier=name, run_id=moment, batch_identifier="synthetic rows")
    context.validation_results_store.store_validation_results(result, key)
    return {suite.name: bool(result.success)}


def _list(folder: Path, decision: Decision, passed: dict[str, bool]) -> Path:
    """Put the verdict and links to the validations at the head of the index page, in HTML that needs no script."""
    rows = []
    for name, success in passed.items():
        # A folder that was written to before still holds the pages of then.
        page = max((folder / "validations" / name).rglob("*.html"), key=lambda found: found.stat().st_mtime_ns)
        link = f'<a href="{quote(page.relative_to(folder).as_posix())}">{escape(name)}</a>'
        rows.append(f"<tr><td>{link}</td><td>{'holds' if success else 'fails'}</td></tr>")
    head = f"<p><strong>{decision.verdict}</strong>: {escape(decision.reason)}</p>"
    block = f'<div class="counterpoise">{head}<table>{"".join(rows)}</table></div>'
    index = folder / "index.html"
    before, body, after = index.read_text(encoding="utf-8").partition('<div class="container-fluid')
    index.write_text(f"{before}{block}{body}{after}", encoding="utf-8")
    return index
