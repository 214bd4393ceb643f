"""Does the card say what is true, in a form that Hugging Face and Croissant readers take?"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.card import Facts, _yaml, card, size_category
from data.croissant import croissant, data_type
from data.errors import PublishError
from data.schema import Column, Schema
from data.shards import Written, feature, published_schema

yaml = pytest.importorskip("yaml")

SCHEMA = Schema(
    (
        Column(name="age", kind="integer", dtype="int64"),
        Column(name="income", kind="categorical", dtype="string", categories=(" <=50K", " >50K")),
    ),
    target="income",
)
ARROW = pa.schema([("age", pa.int64()), ("income", pa.string()), ("is_synthetic", pa.bool_())])


def written(**counts: int) -> Written:
    pairs = Counter({(" <=50K", False): 700, (" >50K", False): 100, (" >50K", True): 600, **counts})
    return Written(rows=[sum(pairs.values())], arrow=ARROW, counts=pairs)


def front_and_words(text: str) -> tuple[dict[str, Any], str]:
    _, front, words = text.split("---\n", 2)
    return yaml.safe_load(front), words


def make(facts: Facts, version: str | None = "v000003") -> tuple[dict[str, Any], str]:
    return front_and_words(card(facts, written(), SCHEMA, dataset="adult", version=version, data_bytes=1234))


def test_the_front_matter_is_what_hugging_face_reads() -> None:
    front, _ = make(Facts(license="cc-by-4.0", tags=("census",)))
    assert front["license"] == "cc-by-4.0"
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}]
    assert front["size_categories"] == ["1K<n<10K"]
    assert front["task_categories"] == ["tabular-classification"]
    assert {"synthetic", "tabular", "census"} <= set(front["tags"])
    assert front["dataset_info"]["splits"] == [{"name": "train", "num_bytes": 1234, "num_examples": 1400}]
    assert front["dataset_info"]["features"][0] == {"name": "age", "dtype": "int64"}


def test_a_licence_that_nobody_named_is_left_out() -> None:
    assert "license" not in make(Facts())[0]


def test_hugging_face_takes_the_front_matter_and_the_features() -> None:
    hub = pytest.importorskip("huggingface_hub")
    datasets = pytest.importorskip("datasets")
    kinds = pa.schema(
        [
            ("img", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            ("no", pa.dictionary(pa.int8(), pa.string())),
            ("price", pa.decimal128(10, 2)),
            ("when", pa.timestamp("us", tz="UTC")),
            ("day", pa.date32()),
            ("half", pa.float16()),
            ("boxes", pa.list_(pa.list_(pa.float32()))),
            ("fixed", pa.list_(pa.float64(), 4)),
            ("big", pa.large_string()),
            ("pair", pa.struct([("a", pa.int8()), ("b", pa.string())])),
        ]
    )
    schema = Schema((Column(name="img", kind="image", dtype="struct"),))
    arrow = published_schema(kinds, schema)
    text = card(Facts(), Written(rows=[1], arrow=arrow), schema, dataset="d", version=None, data_bytes=1)
    info = hub.DatasetCard(text).data.to_dict()["dataset_info"]
    from_card = datasets.Features._from_yaml_list(info["features"])
    from_parquet = datasets.Features.from_arrow_schema(arrow)
    assert from_card == from_parquet
    assert type(from_card["img"]).__name__ == "Image"
    assert from_card["no"].dtype == "string"


def test_the_words_tell_what_it_is_and_what_it_is_not() -> None:
    facts = Facts(verdict="WARN", reason="coverage is a little low", family="ctgan", seed=7, smallest_detectable_mode=0.0123)
    _, words = make(facts)
    assert "**Verdict: WARN.** Coverage is a little low." in words
    assert "1,400 rows: 800 real and 600 synthetic." in words
    assert "| >50K | 100 | 600 | 700 |" in words
    assert "| <=50K | 700 | 0 | 700 |" in words
    assert "`ctgan` with seed 7" in words
    assert "1.23 % of the real rows that were judged" in words
    assert 'load_dataset("adult/v000003", split="train")' in words


def test_only_the_checks_that_could_judge_are_said_to_have_judged() -> None:
    _, words = make(Facts.of({"judged": ["schema", "modes", "copies"], "unjudged": ["fidelity"]}))
    assert "judged against held-out real rows by the checks schema, modes and copies; fidelity could not judge; `rep" in words
    assert "judged against held-out real rows; `report.html`" in make(Facts())[1]


def test_a_release_says_that_no_row_is_real() -> None:
    _, words = make(Facts(purpose="release"))
    assert "every row was drawn by a generator and none is a real record" in words


def test_what_is_in_quarantine_says_so() -> None:
    _, words = make(Facts(verdict="BLOCK", reason="a mode is missing"), version=None)
    assert "**Quarantined**: these rows did not pass the gate." in words


def test_unknown_facts_are_refused_with_the_nearest() -> None:
    with pytest.raises(PublishError, match="did you mean 'verdict'"):
        Facts.of({"verdct": "PASS"})
    with pytest.raises(PublishError, match="must be 'augment' or 'release'"):
        Facts.of({"purpose": "sell"})


def test_bars_and_breaks_in_labels_do_not_break_the_table() -> None:
    rows = Written(rows=[3], arrow=ARROW, counts=Counter({("a|b\nc", True): 2, (None, True): 1}))
    _, words = front_and_words(card(Facts(), rows, SCHEMA, dataset="d", version=None, data_bytes=1))
    assert "| a\\|b c | 0 | 2 | 2 |" in words
    assert "| (missing) | 0 | 1 | 1 |" in words


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8", exclude_categories=("Cs",))),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text("abno y:#'é", min_size=1), inner, min_size=1)
        ),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, dict))
)
def test_every_reader_of_yaml_reads_what_was_meant(value: dict[str, Any]) -> None:
    from ruamel.yaml import YAML

    text = "\n".join(_yaml(value))
    assert yaml.safe_load(text) == value
    assert YAML(typ="safe", pure=True).load(text) == value


@pytest.mark.parametrize(
    ("rows", "name"), [(1, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**9, "n>1B")]
)
def test_size_categories(rows: int, name: str) -> None:
    assert size_category(rows) == name


def test_croissant_is_valid_for_awkward_names() -> None:
    reader = pytest.importorskip("mlcroissant")
    names = ["a b", "a/b", "a?b", "é", "", "index", "name"]
    arrow = pa.schema([(name, pa.int64()) for name in names])
    files = {"data/train-00000-of-00001.parquet": {"bytes": 3, "sha256": "0" * 64}}
    facts = Facts(license="cc0-1.0", description="What it is.")
    value = croissant(facts, arrow, Schema(()), dataset="d", number=2, files=files)
    read = reader.Dataset(jsonld=value)
    assert read.metadata.ctx.issues.errors == set()
    assert read.metadata.version == "2.0.0"
    identities = [field["@id"] for field in value["recordSet"][0]["field"]]
    assert len(set(identities)) == len(names) - 1  # no field without a name


@pytest.mark.parametrize(
    ("kind", "name"),
    [(pa.bool_(), "sc:Boolean"), (pa.uint8(), "sc:Integer"), (pa.float32(), "sc:Float"), (pa.decimal128(5, 2), "sc:Float"),
     (pa.timestamp("s"), "sc:DateTime"), (pa.date32(), "sc:Date"), (pa.dictionary(pa.int8(), pa.string()), "sc:Text"),
     (pa.binary(), "sc:Text")],
)  # fmt: skip
def test_croissant_types(kind: pa.DataType, name: str) -> None:
    assert data_type(kind) == name
    assert data_type(kind, "image") == "sc:ImageObject"


def test_features_are_json_that_datasets_reads() -> None:
    assert feature(pa.float64()) == {"dtype": "float64", "_type": "Value"}
    assert feature(pa.list_(pa.int8())) == {"feature": {"dtype": "int8", "_type": "Value"}, "_type": "List"}
    assert feature(pa.binary(), "image") == {"_type": "Image"}


def test_the_card_of_pictures_speaks_of_pictures() -> None:
    schema = Schema((Column(name="img", kind="image", dtype="struct"),))
    held = Written(rows=[3], arrow=pa.schema([("img", pa.binary())]), counts=Counter({(None, True): 3}))
    text = card(Facts(), held, schema, dataset="parts", version="v000001", data_bytes=9)
    words = text.split("---\n", 2)[2].partition("## How to load")[0]
    assert "## Pictures" in words and "pictures" in words
    assert not re.search(r"\brows?\b", words, re.I)
