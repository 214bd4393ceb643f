"""Do the user's own expectations, given as a suite of Great Expectations, hold for the synthetic rows?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, ClassVar

from validators.base import Culprit, Evidence, Finding, Verdict
from validators.expectations import sampled, session, validate
from validators.stats import percent
from validators.suite_file import PLACE, Asked, SuiteFile, read_suite

CHECK = "suite"
#: The suite is asked of so many rows at most; of more, one is drawn from each of as many equal stretches.
ROWS = 1_000_000
#: What is said of all rows together; a sample of them cannot answer it.
WHOLE = frozenset(
    {
        "expect_column_distinct_values_to_contain_set",
        "expect_column_distinct_values_to_equal_set",
        "expect_column_max_to_be_between",
        "expect_column_min_to_be_between",
        "expect_column_proportion_of_unique_values_to_be_between",
        "expect_column_sum_to_be_between",
        "expect_column_unique_value_count_to_be_between",
        "expect_column_values_to_be_unique",
        "expect_compound_columns_to_be_unique",
        "expect_table_row_count_to_be_between",
        "expect_table_row_count_to_equal",
    }
)
ADVICE = "correct the generator's output where the suite fails, or change the suite if it asks too much"
SENTENCE = 160


@dataclass(frozen=True)
class SuiteCheck:
    """Every expectation of the suite at `path`, asked of the synthetic rows as pandas reads them.

    One that fails blocks; where its severity is `warning` it warns, and `info` is only told. Up to ROWS rows are looked at;
    of a longer set a sample is, and an expectation about all rows together (see WHOLE) then stays open: INCONCLUSIVE.
    What Great Expectations answered is left in the evidence's memo under "suite", for Data Docs."""

    path: Path
    name: ClassVar[str] = CHECK

    def evaluate(self, evidence: Evidence) -> Finding:
        """Raises DataError when the file is no suite for these rows."""
        made = evidence.synthetic
        if made.num_rows == 0:
            return Finding(CHECK, "SKIPPED", summary="the synthetic set has no rows")
        suite = read_suite(self.path, made.source.schema.names)
        rows = sampled(made, ROWS, evidence.intent.seed)
        with session() as context:
            built = suite.build()
            result = validate(context, rows.table.to_pandas(), built, rows="synthetic rows")
            answers = _answers(suite, result.results, open_ones=rows.num_rows < made.num_rows)
        evidence.memo[CHECK] = (built, result)
        return _finding(suite, answers, rows.num_rows, made.num_rows)


@dataclass(frozen=True)
class Answer:
    """What became of an expectation: whether it held (None: a sample cannot tell), in words, and why it could not run.

    expected and observed: rows that may and that do break it, or the bound and the figure beyond it."""

    asked: Asked
    held: bool | None
    said: str
    expected: float = 0.0
    observed: float = 0.0
    error: str = ""


def _answers(suite: SuiteFile, results: Sequence[Any], *, open_ones: bool) -> list[Answer]:
    """The answers in the order of the file."""
    by_place = {result.expectation_config.meta[PLACE]: result for result in results}
    return [_answer(asked, by_place[i], open_ones and asked.type in WHOLE) for i, asked in enumerate(suite.asked)]


def _answer(asked: Asked, result: Any, is_open: bool) -> Answer:
    sentence = _sentence(result.expectation_config)
    error = _error(result.exception_info)
    if is_open:
        return Answer(asked, None, f"{sentence} (only all rows together could tell)")
    if error:
        return Answer(asked, False, f"{sentence} (it could not be asked: {error})", error=error)
    # Parameters of the suite stand here with their values.
    facts, kwargs = result.result, result.expectation_config.kwargs
    if "unexpected_count" in facts:
        # An expectation about nulls counts them among the values it looks at.
        rows = int(facts.get("element_count") or 0) - int(facts.get("missing_count") or 0)
        broken = int(facts["unexpected_count"] or 0)
        allowed = math.floor((1 - float(kwargs.get("mostly", 1))) * rows)
        share = percent(broken / max(rows, 1))
        return Answer(asked, bool(result.success), f"{sentence}: {broken} of {rows} do not ({share})", allowed, broken)
    seen = facts.get("observed_value")
    observed, bound = _beyond(seen, kwargs)
    return Answer(asked, bool(result.success), f"{sentence}: found {_short(seen)}", bound, observed)


def _beyond(seen: Any, kwargs: Mapping[str, Any]) -> tuple[float, float]:
    """The figure and the bound it is nearest to; zeros where it is no number."""
    if not isinstance(seen, (int, float)) or isinstance(seen, bool) or not math.isfinite(seen):
        return 0.0, 0.0
    bounds = [kwargs.get(key) for key in ("min_value", "max_value", "value", "threshold", "sum_total")]
    numbers = [float(b) for b in bounds if isinstance(b, (int, float)) and not isinstance(b, bool)]
    return float(seen), min(numbers, key=lambda bound: abs(bound - seen), default=0.0)


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _error(info: Mapping[str, Any]) -> str:
    """The message of an expectation that raised; two shapes are in use: one exception, or one for each metric."""
    nested = [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, Mapping)]
    said = next((str(each.get("exception_message")) for each in nested if each.get("raised_exception")), "")
    return said.splitlines()[0][:120] if said else ""


def _sentence(configuration: Any) -> str:
    """An expectation in the words of its author, else in those that Great Expectations has for it."""
    from great_expectations.render.renderer.inline_renderer import InlineRenderer

    text = configuration.description
    if not text:
        rendered = InlineRenderer(render_object=configuration).get_rendered_content()[0].value
        params = {key: each["value"] for key, each in (rendered.params or {}).items()}
        text = Template(rendered.template or "").safe_substitute(params)
    if not text:
        column = configuration.kwargs.get("column")
        text = configuration.type.replace("_", " ") + (f" ({column})" if column else "")
    text = " ".join(str(text).split()).rstrip(".")
    return text if len(text) <= SENTENCE else f"{text[: SENTENCE - 1]}…"


def _finding(suite: SuiteFile, answers: Sequence[Answer], looked: int, rows: int) -> Finding:
    grave = [a for a in answers if a.held is False and a.asked.severity == "critical" and not a.error]
    errors = [a for a in answers if a.error and a.asked.severity != "info"]
    undecided = [a for a in answers if a.held is None and a.asked.severity != "info"]
    light = [a for a in answers if a.held is False and a.asked.severity == "warning" and not a.error]
    told = [a for a in answers if a.held is False and a.asked.severity == "info"]
    verdict: Verdict = "BLOCK" if grave else "ERROR" if errors else "INCONCLUSIVE" if undecided else "WARN" if light else "PASS"
    shown = [*grave, *errors, *undecided, *light, *told]
    failed = [a for a in answers if a.held is False]
    return Finding(
        CHECK,
        verdict,
        value=float(len(failed)),
        limit=0.0,
        summary=_summary(suite, answers, shown, looked, rows),
        culprits=tuple(Culprit(cell=a.said, expected=a.expected, observed=a.observed) for a in shown[:10]),
        details={
            "suite": suite.name,
            "expectations": len(answers),
            "rows": looked,
            "failed": [{"type": a.asked.type, "severity": a.asked.severity, "said": a.said} for a in failed],
            "advice": f"judge at most {ROWS:,} rows" if verdict == "INCONCLUSIVE" else ADVICE,
        },
    )


def _summary(suite: SuiteFile, answers: Sequence[Answer], shown: Sequence[Answer], looked: int, rows: int) -> str:
    on = f" (on {looked:,} of {rows:,} rows)" if looked < rows else ""
    if not shown:
        return f"all {len(answers)} expectations of the suite {suite.name!r} hold{on}"
    more = f", and {len(shown) - 1} more" if len(shown) > 1 else ""
    word = "does not hold" if shown[0].held is False else "stays open"
    return f"the suite {suite.name!r} {word}: {shown[0].said}{more}{on}"
