"""How is a schema said in Great Expectations, and what does it answer?"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from data.schema import Column

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.file_data_context import FileDataContext

SITE = "report"


@dataclass(frozen=True)
class Rule:
    """One expectation before it is said in Great Expectations.

    column: "" for the table; kind: "columns", "type", "range", "levels", "filled" or "unique"; hard: the plan declared
    it, so that no row may break it; mostly: share of rows that must keep it; params: further arguments."""

    column: str
    kind: str
    hard: bool = True
    mostly: float = 1.0
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What became of a rule: rows that were looked at (nulls left out) and rows that broke it; error: why it could not run."""

    rule: Rule
    success: bool
    rows: int
    broken: int
    error: str = ""


def frame_type(column: Column, kind: pa.DataType) -> str:
    """What an Arrow column holds, coarsely: "number", "whole", "text", "truth" or "time"; other types by their name."""
    if pa.types.is_dictionary(kind):
        return frame_type(column, kind.value_type)
    if pa.types.is_boolean(kind):
        return "truth"
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_temporal(kind):
        return "time"
    return "text" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def to_frame(values: pa.ChunkedArray) -> pd.Series[Any]:
    """A column as pandas sees it in the suite: numbers as float64 or int64, text as str, times without a zone."""
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_temporal(kind):
        zone_free = values.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False).cast(pa.timestamp("us"))
        return pd.Series(zone_free.to_pandas())
    if pa.types.is_decimal(kind):
        return pd.Series(values.cast(pa.float64(), safe=False).to_pandas())
    return pd.Series(values.cast(kind).to_pandas())


def run_suite(frame: pd.DataFrame, rules: Sequence[Rule], *, docs: Path | None = None, name: str = "schema") -> list[Answer]:
    """Answer every rule on the frame; with `docs` the Data Docs site is written into that folder, `index.html` first."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="counterpoise-gx-") as scratch:
        import great_expectations as gx

        context = _context(Path(scratch), docs)
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=[_expectation(rule) for rule in rules]))
        batch = (
            context.data_sources.add_pandas("memory")
            .add_dataframe_asset("synthetic")
            .add_batch_definition_whole_dataframe("all")
        )
        definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
        checkpoint = context.checkpoints.add(
            gx.Checkpoint(name=name, validation_definitions=[definition], result_format="BASIC")
        )
        outcome = checkpoint.run(batch_parameters={"dataframe": frame})
        result = next(iter(outcome.run_results.values()))
        if docs is not None:
            context.build_data_docs(site_names=[SITE])
        return _answers(rules, result.results)


def _context(scratch: Path, docs: Path | None) -> FileDataContext:
    """A context whose every file lies in `scratch`, but for the Data Docs."""
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="file", project_root_dir=scratch)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    for site in list(context.get_site_names()):
        context.delete_data_docs_site(site)
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        context.add_data_docs_site(SITE, {"class_name": "SiteBuilder", "store_backend": backend, "site_index_builder": index})
    return context


def _expectation(rule: Rule) -> Any:
    gxe: Any = import_module("great_expectations.expectations")  # its names are not declared exported
    params = dict(rule.params or {})
    if rule.kind == "columns":
        return gxe.ExpectTableColumnsToMatchSet(exact_match=False, **params)
    if rule.kind == "type":
        return gxe.ExpectColumnValuesToBeInTypeList(column=rule.column, **params)
    made = {
        "range": gxe.ExpectColumnValuesToBeBetween,
        "levels": gxe.ExpectColumnValuesToBeInSet,
        "filled": gxe.ExpectColumnValuesToNotBeNull,
        "unique": gxe.ExpectColumnValuesToBeUnique,
    }[rule.kind]
    return made(column=rule.column, mostly=rule.mostly, **params)


def _answers(rules: Sequence[Rule], results: Sequence[Any]) -> list[Answer]:
    """Results come in an order of their own: they are found again by column and kind of expectation."""
    found = {_key(r.expectation_config.type, r.expectation_config.kwargs.get("column", "")): r for r in results}
    out = []
    for rule in rules:
        result = found[_key(_expectation(rule).expectation_type, rule.column)]
        count = int(result.result.get("element_count") or 0)
        missing = 0 if rule.kind == "filled" else int(result.result.get("missing_count") or 0)
        broken = int(result.result.get("unexpected_count") or 0)
        out.append(Answer(rule, bool(result.success), count - missing, broken, _exception(result.exception_info)))
    return out


def _key(kind: str, column: str) -> tuple[str, str]:
    return kind, column


def _exception(info: Mapping[str, Any]) -> str:
    """The message of an expectation that raised; two shapes are in use: one exception, or one for each metric."""
    nested = [info] if "raised_exception" in info else [v for v in info.values() if isinstance(v, Mapping)]
    return next((str(each.get("exception_message")) for each in nested if each.get("raised_exception")), "")


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars, no analytics, no deprecation notes of the library's own making; everything as it was afterwards."""
    wanted = {"GX_ANALYTICS_ENABLED": "false", "TQDM_DISABLE": "1"}
    before = {key: os.environ.get(key) for key in wanted}
    logger = logging.getLogger("great_expectations")
    level = logger.level
    os.environ.update(wanted)
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
