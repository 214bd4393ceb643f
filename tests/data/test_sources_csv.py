"""Does the CSV reader understand what people really write, and refuse the rest in one sentence?"""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError
from data.sources import csv
from data.sources._nearly import nearly_of

DATA = Path(os.environ.get("COUNTERPOISE_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def column(folder: Path, *fields: str, **options):
    """One column `a`, written beside a column `b` that keeps every row from being empty."""
    table = csv.read(write(folder, "a,b\n" + "".join(f"{field},x\n" for field in fields)), **options)
    return str(table.schema.field("a").type), table["a"].to_pylist()


@pytest.mark.parametrize(
    ("fields", "dtype", "values"),
    [
        (("1", "2", "-3"), "int64", [1, 2, -3]),
        (("1", "", "3"), "int64", [1, None, 3]),
        (("29.85", " ", "108.15"), "double", [29.85, None, 108.15]),
        (("1", "2", "?"), "int64", [1, 2, None]),
        (("1.5", "-", "2"), "double", [1.5, None, 2.0]),
        (("1", "unknown", "2"), "int64", [1, None, 2]),
        (("1", "None", "NA"), "int64", [1, None, None]),
        (("NaN", "1.5", "nan"), "double", [None, 1.5, None]),
        (("00123", "00456", "99999"), "string", ["00123", "00456", "99999"]),
        (("0", "0.5", "-0.25"), "double", [0.0, 0.5, -0.25]),
        (("+491701234567", "+441701234567"), "string", ["+491701234567", "+441701234567"]),
        (("+5", "-3"), "int64", [5, -3]),
        (("1e3", "2.5E-2"), "double", [1000.0, 0.025]),
        (("0x1F", "0x2A"), "string", ["0x1F", "0x2A"]),
        (("123456789012345678901", "123456789012345678902"), "string", ["123456789012345678901", "123456789012345678902"]),
        (('"1,200"', '"3,400,500"', "7"), "int64", [1200, 3400500, 7]),
        (('"1,200.50"', "7"), "double", [1200.5, 7.0]),
        (("true", "False", "TRUE"), "string", None),
        (("true", "false", ""), "bool", [True, False, None]),
        (("yes", "no", "yes"), "string", ["yes", "no", "yes"]),
        ((" State-gov", " ?", " Private"), "string", [" State-gov", None, " Private"]),
        (("None", "Gable", "None"), "string", ["None", "Gable", "None"]),
        (("EU", "NA", "AS"), "string", ["EU", "NA", "AS"]),
        (("red", "NA", "blue"), "string", ["red", None, "blue"]),
        (("", "", ""), "string", [None, None, None]),
        (("?", "NA", "null"), "string", [None, None, None]),
        (("'-1'", "'1'"), "string", ["'-1'", "'1'"]),
        (("1", "2", "three"), "string", ["1", "2", "three"]),
        (("12:30", "13:45"), "string", ["12:30", "13:45"]),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else None,
)
def test_types_and_missing_markers(tmp_path, fields, dtype, values):
    found_type, found = column(tmp_path, *fields)
    if values is None:  # three spellings of two truth values are three levels
        assert found == list(fields)
    else:
        assert (found_type, found) == (dtype, values)


@pytest.mark.parametrize(
    ("fields", "dtype", "first"),
    [
        (("1955-03-01", "2020-02-29"), "date32[day]", "1955-03-01"),
        (("1955-03-01 10:00", "2020-02-29 23:59"), "timestamp[us]", "1955-03-01 10:00:00"),
        (("1955-03-01T10:00:00.125", "2020-02-29T00:00:00"), "timestamp[us]", "1955-03-01 10:00:00.125000"),
        (("2020-01-01T10:00:00Z", "2020-01-01T10:00:00+02:00"), "timestamp[us, tz=UTC]", "2020-01-01 10:00:00+00:00"),
        (("2020-01-01 10:00:00.123456789", "2020-01-01 10:00:00"), "timestamp[ns]", "2020-01-01 10:00:00.123456789"),
        (("31/12/1969", "01/02/2003"), "date32[day]", "1969-12-31"),
        (("12/31/1969", "01/02/2003"), "date32[day]", "1969-12-31"),
        (("03/04/2003", "01/02/2003"), "date32[day]", "2003-03-04"),
        (("03.04.2003", "01.02.2003"), "date32[day]", "2003-04-03"),
        (("1999/12/31 08:15", "1999/01/02 09:00"), "timestamp[us]", "1999-12-31 08:15:00"),
        (("24 Dec 1960", "01 Jan 2000"), "date32[day]", "1960-12-24"),
        (("2020-02-30", "2020-01-01"), "string", "2020-02-30"),
        (("31/02/2020", "13/01/2020"), "string", "31/02/2020"),
        (("2020-01-01", "soon"), "string", "2020-01-01"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, tuple) else None,
)
def test_dates(tmp_path, fields, dtype, first):
    found_type, found = column(tmp_path, *fields)
    assert (found_type, str(found[0])) == (dtype, first)


def test_dates_keep_missing_values(tmp_path):
    assert [str(v) for v in column(tmp_path, "2020-01-01", "", "-")[1]] == ["2020-01-01", "None", "None"]


def test_stated_markers_replace_the_sniffed_ones(tmp_path):
    assert column(tmp_path, "1", "-999", "3", missing=["-999"])[1] == [1, None, 3]
    assert column(tmp_path, "red", "?", "", missing=["-999"])[1] == ["red", "?", None]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path, delimiter):
    rows = [["a", "b", "c"], ["1", "x y", "2.5"], ["2", "z", "3.5"]]
    path = write(tmp_path, "\n".join(delimiter.join(row) for row in rows))
    assert csv.sniff(path).delimiter == delimiter
    assert csv.read(path).to_pydict() == {"a": [1, 2], "b": ["x y", "z"], "c": [2.5, 3.5]}


def test_decimal_comma(tmp_path):
    table = csv.read(write(tmp_path, "preis;menge;ort\n1,50;3;Köln\n1.234,75;4;Ulm\n"))
    assert table.to_pydict() == {"preis": [1.5, 1234.75], "menge": [3, 4], "ort": ["Köln", "Ulm"]}
    stated = csv.read(write(tmp_path, "a\tb\n1,5\t2\n2,5\t3\n"), decimal=",")
    assert stated.to_pydict() == {"a": [1.5, 2.5], "b": [2, 3]}


def test_one_column(tmp_path):
    assert csv.read(write(tmp_path, "a\n1\n2\n")).to_pydict() == {"a": [1, 2]}


def test_quotes_hold_newlines_commas_quotes_and_emoji(tmp_path):
    table = csv.read(write(tmp_path, 'a,b\n"two\nlines","x, y"\n"say ""hi""",🙂\n5" pipe,🙃 \n'))
    assert table.to_pydict() == {"a": ["two\nlines", 'say "hi"', '5" pipe'], "b": ["x, y", "🙂", "🙃 "]}


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path, ends):
    assert csv.read(write(tmp_path, ends.join(["a,b", "1,x", "", "2,y", ""]))).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings(tmp_path, encoding):
    text = "stadt,größe\n" + "".join(f"Köln {i},{i}\nSão Paulo – Süd,{i}\n" for i in range(20))
    table = csv.read(write(tmp_path, text.encode(encoding)))
    assert table.column_names == ["stadt", "größe"]
    assert table["stadt"].to_pylist()[:2] == ["Köln 0", "São Paulo – Süd"]


def test_cyrillic_in_one_byte_a_letter(tmp_path):
    words = (
        "город,область\n"
        + "Москва,Московская область\nСанкт-Петербург,Ленинградская область\nКазань,Республика Татарстан\n" * 30
    )
    assert csv.read(write(tmp_path, words.encode("cp1251")))["город"].to_pylist()[:2] == ["Москва", "Санкт-Петербург"]


def test_stated_encoding(tmp_path):
    path = write(tmp_path, "a,b\nжук,1\n".encode("koi8-r"))
    assert csv.read(path, encoding="koi8-r")["a"].to_pylist() == ["жук"]
    with pytest.raises(DataError, match="there is no encoding 'utf-99'"):
        csv.read(path, encoding="utf-99")
    with pytest.raises(DataError, match=r"byte 5 \(line 2\) is not utf-8 text"):
        csv.read(path, encoding="utf-8")


def test_packed_file(tmp_path):
    import gzip

    assert csv.read(write(tmp_path, gzip.compress(b"a,b\n1,2\n"), "t.csv.gz")).to_pydict() == {"a": [1], "b": [2]}
    with pytest.raises(DataError, match="cannot be read"):
        csv.read(write(tmp_path, b"no gzip", "u.csv.gz"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty|header and no rows"),
        (b"a,b\n", "holds a header and no rows"),
        (b"a,b", "holds a header and no rows"),
        (b"a,b\n1,2\n3\n", "line 3: 1 fields where the header has 2"),
        (b"a,b\n1,2\n3,4,5\n", "line 3: 3 fields where the header has 2"),
        (b'a,b\n"1\n1",2\n\n3,4,5\n', "line 5: 3 fields"),
        (b"a,b,a\n1,2,3\n", "column name 'a' stands there 2 times"),
        (b",b\n1,2\n", "column 1 has no name"),
        (b"a, \n1,2\n", "column 2 has no name"),
        (b"a,b\n1,x\n2,\xff\xfe\n", r"byte 11 \(line 3\) is not UTF-8"),
        ("a,b\n1,Köln\n".encode() + b"2,K\xf6ln\n", r"\(line 3\) is not UTF-8"),
        (b"a,b\n1,\x00\x01\x02\n", "no text file|not UTF-8"),
        (b"a,b\n1,x\ninf,y\n", "line 3: column 'a' holds an infinity"),
        (b"a,b\n1.5,x\n\n-Infinity,y\n", "line 4: column 'a' holds an infinity"),
        (b'a,b\n1,"x\n2,y\n3,z\n', "line 2: a quote is opened and never closed"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else None,
)
def test_refusals_are_one_sentence(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=says) as refusal:
        csv.read(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_such_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        csv.read(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        csv.read(tmp_path)
    path = write(tmp_path, "a,b\n1,2\n")
    with pytest.raises(DataError, match="delimiter must be one sign"):
        csv.read(path, delimiter="::")
    with pytest.raises(DataError, match="decimal sign"):
        csv.read(path, decimal=";")


def test_a_row_longer_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 64)
    long = "x" * 1000
    assert csv.read(write(tmp_path, f"a,b\n1,{long}\n2,y\n"))["b"].to_pylist() == [long, "y"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), st.integers(-(2**63), 2**63 - 1)),
        min_size=1,
    )
)
def test_round_trip_of_any_text(tmp_path, rows):
    """Text goes in and comes out byte for byte, but for the spellings that mean a number, a date or nothing."""
    import csv as stdlib

    path = tmp_path / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = stdlib.writer(file, quoting=stdlib.QUOTE_ALL)
        writer.writerows([("word", "n"), *(("w" + word, n) for word, n in rows)])
    table = csv.read(path, delimiter=",")
    assert table["word"].to_pylist() == ["w" + word for word, _ in rows]
    assert table["n"].to_pylist() == [n for _, n in rows]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_round_trip_of_floats(tmp_path, values):
    fields = ["" if v is None else repr(v) for v in values]
    found = column(tmp_path, *fields)[1]
    assert found == values


def need(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not under {DATA}; set COUNTERPOISE_DATA to the folder that holds it")
    return DATA / name


def test_telco(tmp_path):
    table = csv.read(need("telco_churn/telco_churn.csv"))
    assert (table.num_rows, table["TotalCharges"].type, table["TotalCharges"].null_count) == (7043, pa.float64(), 11)


def test_adult():
    table = csv.read(need("adult/adult.csv"))
    nulls = {name: table[name].null_count for name in table.column_names if table[name].null_count}
    assert table.num_rows == 32561
    assert nulls == {"workclass": 1836, "occupation": 1843, "native-country": 583}
    assert set(table["income"].to_pylist()) == {" <=50K", " >50K"}


def test_mammography():
    table = csv.read(need("mammography/mammography.csv"))
    assert set(table["class"].to_pylist()) == {"'-1'", "'1'"}
    assert table["attr3"].type == pa.float64()


def test_a_hundred_thousand_rows_read_quickly(tmp_path):
    rows = "".join(
        f"{i},{i * 0.37:.2f},level {i % 50},2020-01-{i % 28 + 1:02d},{'yes' if i % 3 else 'no'}\n" for i in range(100_000)
    )
    path = write(tmp_path, "i,x,c,d,y\n" + rows)
    begin = time.perf_counter()
    table = csv.read(path)
    assert [str(t) for t in table.schema.types] == ["int64", "double", "string", "date32[day]", "string"]
    assert time.perf_counter() - begin < 10  # about 0.2 s; a row-wise reader would take minutes on a busy machine


def nearly(tmp_path, *fields, **how):
    """What is said of a column `a` beside a column of numbers with a known marker."""
    lines = [f'"{field}",{i if i else "?"}' for i, field in enumerate(fields)]
    return nearly_of(csv.read(write(tmp_path, "a,b\n" + "\n".join(lines)), **how)).get("a", "")


AMOUNTS, CODES = [f"{i}.25" for i in range(300)], ["1", "2", "3", "4", "5"] * 60


@pytest.mark.parametrize("numbers", [AMOUNTS, CODES, [f"2020-01-{1 + i % 28:02d}" for i in range(300)]])
@pytest.mark.parametrize("rows", [1, 30, 100])
def test_a_column_is_numbers_but_for_a_marker(tmp_path, numbers, rows):
    said = nearly(tmp_path, *["n.k."] * rows, *numbers)
    what = "dates" if "-" in numbers[0] else "numbers"
    count = "1 row" if rows == 1 else f"{rows} rows"
    stated = "add `missing: ['', '?', 'n.k.']` under data"
    assert said == f"column 'a' is {what} except for 'n.k.' in {count}; if that means missing, {stated}"
    assert nearly(tmp_path, *["n.k."] * rows, *numbers, missing=["", "?", "n.k."]) == ""


def test_slips_and_several_markers_are_told(tmp_path):
    said = nearly(tmp_path, *AMOUNTS, "12 kg", "it's", "-")
    assert "except for '12 kg' and \"it's\" in 2 rows; correct what is a slip; if that means missing" in said
    assert "`missing: ['', '-', '12 kg', '?', 'it''s']`" in said
    assert "missing: ['', '?', 'x']" in nearly(tmp_path, *AMOUNTS, "x", missing=["?"])


@pytest.mark.parametrize(
    "fields",
    [
        AMOUNTS,
        [*CODES, "5+"],
        [*CODES, "S", "M"],
        ["A1", "B2", "C3"] * 20,
        [*["00123", "00456"] * 20, "x"],
        ["1", "2", *["many"] * 20],
        [*AMOUNTS[:50], *(f"word {i}" for i in range(6))],
        ["n.k."] * 5,
    ],
)
def test_of_numbers_words_and_codes_nothing_is_said(tmp_path, fields):
    assert nearly(tmp_path, *fields) == ""
