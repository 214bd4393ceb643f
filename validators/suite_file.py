"""What does a user's own suite of Great Expectations ask for? Read from a file, and refused before anything runs."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data.documents import check_size
from data.errors import DataError
from validators.suite_condition import check_condition

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
#: Arguments of an expectation that name columns of the rows.
COLUMNS = ("column", "column_A", "column_B", "column_list")
#: These ask whether columns are there, so that a missing one is their answer.
ABOUT_COLUMNS = ("expect_column_to_exist", "expect_table_columns_to_match_ordered_list", "expect_table_columns_to_match_set")
#: These ask a database; the synthetic rows are a pandas frame.
DATABASES = frozenset(
    {
        "unexpected_rows_expectation",
        "expect_query_results_to_match_comparison",
        "expect_table_row_count_to_equal_other_table",
        *(f"expect_column_values_to_{no}match_like_pattern{many}" for no in ("", "not_") for many in ("", "_list")),
    }
)
#: Where an expectation keeps its place in the file; the library answers in an order of its own.
PLACE = "counterpoise_place"


@dataclass(frozen=True)
class Asked:
    """One expectation of the file: its type, its arguments, and how grave it is when it fails."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity


@dataclass(frozen=True)
class SuiteFile:
    """A suite that can be run. given: the file's content; asked: its expectations, in the order of the file."""

    path: Path
    given: Mapping[str, Any]
    asked: tuple[Asked, ...]

    @property
    def name(self) -> str:
        return str(self.given.get("name") or self.path.stem)

    @property
    def stored_as(self) -> str:
        """The name made fit for a folder, and none that the gate's own pages of Data Docs have."""
        return f"suite {re.sub(r'[^A-Za-z0-9 _-]+', '-', self.name)}"

    def build(self) -> ExpectationSuite:
        """The suite, with the place of each expectation in its meta."""
        import great_expectations as gx

        expectations = []
        for place, (each, asked) in enumerate(zip(self.given["expectations"], self.asked, strict=True)):
            place_kept = dict(each.get("meta") or {}) | {PLACE: place}
            said = {key: each[key] for key in ("notes", "description") if each.get(key)}
            expectations.append({"type": asked.type, "kwargs": dict(asked.kwargs), "meta": place_kept, **said})
            expectations[-1]["severity"] = asked.severity
        own = {key: self.given[key] for key in ("suite_parameters", "notes") if self.given.get(key)}
        return gx.ExpectationSuite(
            name=self.stored_as, expectations=expectations, meta=dict(self.given.get("meta") or {}), **own
        )


def read_suite(path: Path, columns: Sequence[str] | None = None) -> SuiteFile:
    """A suite from the file that Great Expectations 1 writes for it (JSON), or from YAML of the same shape.

    columns: those of the rows it is for, None when they are not known yet. Costs the import of the library (seconds).
    Raises DataError, naming file, place and remedy, for a file that is not there or holds no suite, and for an
    expectation that is unknown, wrongly argued, of a database, or about a column that is not there."""
    given = _parsed(path)
    if not isinstance(given, Mapping) or not isinstance(given.get("expectations"), list):
        raise DataError(f"{path}: this is no suite: it has no list `expectations`; save one with Great Expectations 1")
    if "expectation_suite_name" in given or any("expectation_type" in each for each in _mappings(given["expectations"])):
        raise DataError(f"{path}: this is a suite of Great Expectations 0.x; load it with version 1 and save it again")
    if not given["expectations"]:
        raise DataError(f"{path}: the suite has no expectations; add some, or take `suite` out of the plan")
    asked = tuple(_asked(f"{path}: expectation {i}", each, columns) for i, each in enumerate(given["expectations"], 1))
    suite = SuiteFile(path, given, asked)
    _check_parameters(suite)
    return suite


def _mappings(values: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]


def _parsed(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent
        near = difflib.get_close_matches(path.name, [p.name for p in folder.iterdir()], n=1) if folder.is_dir() else []
        hint = f"did you mean {near[0]!r}?" if near else f"paths are relative to {Path.cwd()}"
        raise DataError(f"{path}: no such suite; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(f"{path}: the suite cannot be read ({said}); name a JSON or YAML file") from None
    try:
        return _yaml(text) if path.suffix.lower() in (".yaml", ".yml") else json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: not valid {path.suffix.lstrip('.').upper() or 'JSON'}: {error}; mend or export it") from None


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe", pure=True).load(text)
        check_size(tree)
        return tree
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        raise ValueError(f"{getattr(error, 'problem', None) or 'it does not parse'}{where}") from None


def _asked(where: str, given: Any, columns: Sequence[str] | None) -> Asked:
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise DataError(f"{where}: has no `type`; an expectation is {{type: expect_..., kwargs: {{...}}}}")
    kind, kwargs = given["type"], given.get("kwargs") or {}
    where = f"{where} ({kind})"
    meta = given.get("meta") or {}
    severity = given.get("severity") or (meta.get("severity") if isinstance(meta, Mapping) else None) or "critical"
    if severity not in SEVERITIES:
        raise DataError(f"{where}: unknown severity {severity!r}; it is one of {', '.join(SEVERITIES)}")
    if kind in DATABASES:
        raise DataError(f"{where}: asks a database, but the synthetic rows are judged as a pandas frame; leave it out")
    _check_arguments(where, kind, kwargs)
    if columns is not None and kind not in ABOUT_COLUMNS:
        _check_columns(where, kwargs, columns)
    return Asked(kind, kwargs, severity)


def _check_arguments(where: str, kind: str, kwargs: Any) -> None:
    """Build the expectation once: the library would leave out one that it does not understand, and say nothing."""
    from great_expectations.exceptions.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = [name for name in list_registered_expectation_implementations() if name not in DATABASES]
    if kind not in known:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "expectations of your own making cannot be read from a file"
        raise DataError(f"{where}: Great Expectations has no such expectation; {hint}")
    if not isinstance(kwargs, Mapping):
        raise DataError(f"{where}: `kwargs` is no mapping; write {{column: ..., ...}}")
    check_condition(where, kwargs.get("row_condition"))
    try:
        ExpectationConfiguration(type=kind, kwargs=dict(kwargs)).to_domain_obj()
    except (GreatExpectationsError, ValueError, TypeError) as error:
        raise DataError(f"{where}: {_fault(error)}; correct its kwargs") from None


def _fault(error: Exception) -> str:
    """What is wrong with the arguments, in a line."""
    errors = getattr(error, "errors", None)
    if callable(errors) and (found := errors()):
        key = ".".join(str(part) for part in found[0]["loc"] if part != "__root__")
        return f"{key}: {found[0]['msg']}" if key else str(found[0]["msg"])
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _check_columns(where: str, kwargs: Mapping[str, Any], columns: Sequence[str]) -> None:
    for key in COLUMNS:
        named = kwargs.get(key)
        for name in named if isinstance(named, list) else [named]:
            if isinstance(name, str) and name not in columns:
                near = difflib.get_close_matches(name, columns, n=1)
                shown = ", ".join(columns[:8]) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
                hint = f"did you mean {near[0]!r}?" if near else f"the columns are {shown}"
                raise DataError(f"{where}: the synthetic rows have no column {name!r}; {hint}")


def _check_parameters(suite: SuiteFile) -> None:
    """Values that stand for `$PARAMETER` must be in the file: a run gives none."""
    known = suite.given.get("suite_parameters") or {}
    lacking = [name for name in suite.build().suite_parameter_options if name not in known]
    if lacking:
        raise DataError(f"{suite.path}: the parameter {lacking[0]!r} has no value; give it one under `suite_parameters`")
