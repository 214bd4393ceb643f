"""How are rows and rules said in Great Expectations? The adapter: contexts that leave nothing behind, frames, expectations."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from data.dataset import Dataset
from data.schema import arrow_type
from validators.breaches import Rule, coarse, instant

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite, ExpectationSuiteValidationResult
    from great_expectations.data_context.data_context.file_data_context import FileDataContext

SITE = "counterpoise"
_NUMBERS = [f"{kind}{bits}" for kind in ("float", "int", "uint") for bits in (64, 32, 16, 8) if (kind, bits) != ("float", 8)]
#: pandas types that Great Expectations accepts for each coarse type of column.
TYPES = {
    "number": _NUMBERS,
    "whole": _NUMBERS,
    "text": ["str", "object", "category"],
    "truth": ["bool", "object"],
    "time": ["datetime64[us]", "datetime64[ns]", "object"],
}


@contextmanager
def session(docs: Path | None = None) -> Iterator[FileDataContext]:
    """A context of Great Expectations whose every file is gone afterwards, but for the Data Docs in `docs`.

    It is quiet: no bars, no analytics, no notes of the library's own making."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="counterpoise-gx-") as scratch:
        yield _context(Path(scratch), docs)


def _context(scratch: Path, docs: Path | None) -> FileDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="file", project_root_dir=scratch)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    for name in list(context.get_site_names()):
        context.delete_data_docs_site(name)
    if docs is not None:
        docs.mkdir(parents=True, exist_ok=True)
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
        site: Any = {"class_name": "SiteBuilder", "store_backend": backend, "show_how_to_buttons": False}
        site["site_index_builder"] = {"class_name": "DefaultSiteIndexBuilder"}
        context.add_data_docs_site(SITE, site)
    return context


def validate(
    context: FileDataContext, frame: pd.DataFrame, suite: ExpectationSuite, *, rows: str, run: str = "once"
) -> ExpectationSuiteValidationResult:
    """The answer of a suite on a frame, kept in the context for its Data Docs.

    rows, run: what the frame's rows and this run are called there."""
    import great_expectations as gx
    from great_expectations.core import RunIdentifier

    stored = context.suites.add(suite)
    asset = context.data_sources.add_or_update_pandas("counterpoise").add_dataframe_asset(rows)
    batch = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=suite.name, data=batch, suite=stored))
    parameters = suite.suite_parameters or None
    return definition.run(
        batch_parameters={"dataframe": frame},
        expectation_parameters=parameters,
        result_format="BASIC",
        run_id=RunIdentifier(run_name=run, run_time=datetime.now(UTC)),
    )


def sampled(rows: Dataset, limit: int, seed: int) -> Dataset:
    """At most so many rows in memory: one drawn from each of `limit` equal stretches of the rows, in their order."""
    total = rows.num_rows
    if total <= limit:
        return rows if rows.in_memory else replace(rows, source=rows.table, adapt=None)
    rng = np.random.default_rng([seed, 41])
    edges = np.arange(limit + 1) * total // limit
    return rows.take(edges[:-1] + (rng.random(limit) * np.diff(edges)).astype(np.int64))


def to_frame(rows: Dataset, names: Sequence[str]) -> pd.DataFrame:
    """Columns as the schema's rules see them: numbers as float64 or int64, text as str, times without a zone."""
    return pd.DataFrame({name: _series(rows.column(name)) for name in names})


def _series(values: pa.ChunkedArray) -> pd.Series[Any]:
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        zoned = values.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        return pd.Series(zoned.cast(pa.timestamp("us")).to_pandas())
    if pa.types.is_decimal(kind):
        return pd.Series(values.cast(pa.float64(), safe=False).to_pandas())
    return pd.Series(values.cast(kind).to_pandas())


def native(rules: Sequence[Rule], rows: Dataset) -> list[Any]:
    """Rules of the schema as expectations of Great Expectations, for so many rows as there are.

    A rule on levels that JSON cannot hold (times of day, say) is left out: no suite could be stored with it. So are the plan's
    rules over several columns, which only the report tells of."""
    return [made for rule in rules if (made := _native(rule, rows)) is not None]


def _native(rule: Rule, rows: Dataset) -> Any:
    gxe: Any = import_module("great_expectations.expectations")  # its names are not declared exported
    if rule.kind == "constraint":
        return None
    if rule.kind == "columns":
        return gxe.ExpectTableColumnsToMatchSet(column_set=list(rule.names), exact_match=False)
    if rule.kind == "type":
        wanted = coarse(arrow_type(rows.schema[rule.column].dtype))
        return gxe.ExpectColumnValuesToBeInTypeList(column=rule.column, type_list=TYPES[wanted])
    said = {"column": rule.column, "mostly": 1 - rule.allowed(rows.num_rows) / rows.num_rows}
    if rule.kind == "levels":
        levels = [float(level) if isinstance(level, Decimal) else level for level in rule.levels]
        plain = all(isinstance(level, (str, int, float)) for level in levels)
        return gxe.ExpectColumnValuesToBeInSet(**said, value_set=levels) if plain else None
    if rule.kind == "range":
        low, high = ((instant(b).to_pydatetime() if isinstance(b, str) else b) for b in (rule.low, rule.high))
        return gxe.ExpectColumnValuesToBeBetween(**said, min_value=low, max_value=high)
    made = {"filled": gxe.ExpectColumnValuesToNotBeNull, "unique": gxe.ExpectColumnValuesToBeUnique}[rule.kind]
    return made(**said)


@contextmanager
def _quiet() -> Iterator[None]:
    """The surroundings in which the library keeps quiet; everything as it was afterwards."""
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
