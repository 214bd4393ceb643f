"""Is a user's own suite asked of the synthetic rows, and refused in one sentence where it cannot be?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from ruamel.yaml import YAML

from data.errors import DataError
from tests.validators.rows import evidence, frame
from validators import suite as suites
from validators.base import Finding
from validators.gate import Detectable, decide
from validators.gx_docs import write_docs
from validators.suite import SuiteCheck
from validators.suite_file import read_suite

GIVEN = evidence(frame(200, 1), frame(200, 2), frame(300, 3))
COLUMNS = GIVEN.synthetic.schema.names


def expectation(kind: str, **kwargs: Any) -> dict[str, Any]:
    above = {key: kwargs.pop(key) for key in ("severity", "description", "meta") if key in kwargs}
    return {"type": f"expect_{kind}", "kwargs": kwargs, **above}


def write(folder: Path, *expectations: Any, name: str = "suite.json", **more: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({"name": "ours", "expectations": list(expectations), "meta": {}, **more}))
    return path


COUNTS = expectation("column_values_to_be_between", column="count", min_value=0, max_value=89)
CITIES = expectation("column_values_to_be_in_set", column="city", value_set=["east", "north", "west"], mostly=0.99)
MEAN = expectation("column_mean_to_be_between", column="count", min_value=100, max_value=200)


def judged(path: Path) -> Finding:
    return SuiteCheck(path).evaluate(GIVEN)


def test_a_suite_that_holds_passes_and_one_that_does_not_blocks_in_words(tmp_path: Path) -> None:
    fine = judged(write(tmp_path, COUNTS, expectation("table_row_count_to_equal", value=300)))
    assert (fine.verdict, fine.value, fine.culprits) == ("PASS", 0.0, ())
    assert fine.summary == "all 2 expectations of the suite 'ours' hold"
    far = int((GIVEN.synthetic.to_pandas().city == "far").sum())
    found = judged(write(tmp_path, COUNTS, MEAN, CITIES))
    assert (found.verdict, found.value, [c.observed for c in found.culprits][1:]) == ("BLOCK", 2.0, [far])
    mean, cities = found.culprits
    assert mean.cell.startswith("count mean must be greater than or equal to 100.0") and mean.expected == 100
    assert cities.cell.startswith("city values must belong to this set: east north west, at least 99 % of the time")
    assert cities.expected == 3 and f"{far} of 300 do not" in cities.cell
    assert found.summary == f"the suite 'ours' does not hold: {mean.cell}, and 1 more"


def test_severity_says_what_a_failure_means_and_a_description_how_it_is_told(tmp_path: Path) -> None:
    light = judged(write(tmp_path, COUNTS, MEAN | {"severity": "warning", "description": "Counts are large"}))
    assert light.verdict == "WARN" and "Counts are large: found 4" in light.summary
    assert judged(write(tmp_path, MEAN | {"meta": {"severity": "warning"}})).verdict == "WARN"
    told = judged(write(tmp_path, COUNTS, MEAN | {"severity": "info"}))
    assert told.verdict == "PASS" and len(told.culprits) == 1


def test_parameters_take_their_values_from_the_file_and_yaml_is_read_too(tmp_path: Path) -> None:
    asked = expectation("column_values_to_be_between", column="count", min_value=0, max_value={"$PARAMETER": "most"})
    with pytest.raises(DataError, match="the parameter 'most' has no value"):
        read_suite(write(tmp_path, asked))
    path = tmp_path / "suite.yaml"
    with path.open("w") as out:
        YAML(typ="safe", pure=True).dump({"name": "ours", "expectations": [asked], "suite_parameters": {"most": 40}}, out)
    found = judged(path)
    assert found.verdict == "BLOCK" and "less than or equal to 40.0" in found.summary


def test_an_expectation_that_cannot_be_asked_is_an_error_and_no_pass(tmp_path: Path) -> None:
    found = judged(write(tmp_path, COUNTS, expectation("column_stdev_to_be_between", column="city", min_value=0, max_value=1)))
    assert found.verdict == "ERROR" and "it could not be asked" in found.summary


def test_of_many_rows_a_sample_is_asked_and_what_it_cannot_tell_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "ROWS", 200)
    rows = expectation("table_row_count_to_equal", value=300)
    found = judged(write(tmp_path, COUNTS, rows))
    assert found.verdict == "INCONCLUSIVE"
    assert "stays open: Must have exactly 300 rows" in found.summary and "(on 200 of 300 rows)" in found.summary
    assert judged(write(tmp_path, COUNTS)).summary == "all 1 expectations of the suite 'ours' hold (on 200 of 300 rows)"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON: Expecting property name"),
        ("[1]", "this is no suite: it has no list `expectations`"),
        ('{"name": "x", "expectations": []}', "the suite has no expectations"),
        ('{"expectation_suite_name": "x", "expectations": []}', "a suite of Great Expectations 0.x"),
        ({"kwargs": {}}, "expectation 1: has no `type`"),
        (expectation("colum_mean_to_be_between"), "did you mean 'expect_column_mean_to_be_between'?"),
        (MEAN | {"severity": "grave"}, "unknown severity 'grave'; it is one of critical, warning, info"),
        (expectation("column_mean_to_be_between", column="count", most=3), "most: extra fields not permitted"),
        (expectation("column_mean_to_be_between", column="cuont", min_value=3), "no column 'cuont'; did you mean 'count'?"),
        (expectation("compound_columns_to_be_unique", column_list=["x", "zz"]), "no column 'zz'; the columns are x, y"),
        ({"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "x"}}, "asks a database"),
    ],
)
def test_what_is_no_suite_for_these_rows_is_refused_in_a_sentence(tmp_path: Path, content: Any, said: str) -> None:
    path = write(tmp_path, content) if isinstance(content, dict) else tmp_path / "suite.json"
    if isinstance(content, str):
        path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_suite(path, COLUMNS)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_names_the_one_that_was_meant(tmp_path: Path) -> None:
    write(tmp_path, COUNTS)
    with pytest.raises(DataError, match=r"suit.json: no such suite; did you mean 'suite.json'\?"):
        read_suite(tmp_path / "suit.json")
    with pytest.raises(DataError, match="paths are relative to"):
        read_suite(Path("nowhere/at/all.json"))


def test_an_expectation_about_columns_may_find_one_missing(tmp_path: Path) -> None:
    path = write(tmp_path, expectation("column_to_exist", column="zz"))
    assert read_suite(path, COLUMNS).name == "ours"
    assert judged(path).verdict == "BLOCK"


@pytest.mark.parametrize("name", ["gate", "team.rules v2/adult"])
def test_data_docs_show_what_the_check_found_whatever_the_suite_is_called(tmp_path: Path, name: str) -> None:
    given = evidence(frame(200, 1), frame(200, 2), frame(300, 3))
    path = write(tmp_path, COUNTS, CITIES)
    path.write_text(path.read_text().replace('"ours"', json.dumps(name)))
    found = SuiteCheck(path).evaluate(given)
    assert repr(name) in found.summary
    decision = decide([found], intent=given.intent, detectable=Detectable(whole=0.01))
    index = write_docs(tmp_path / "docs", given, decision)
    page = next(index.parent.glob("validations/suite */**/*.html"))
    assert "values must belong to this set" in page.read_text() and "far" in page.read_text()
    assert quote(str(page.relative_to(index.parent))) in index.read_text()
