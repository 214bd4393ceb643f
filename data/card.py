"""What does a reader of the published dataset need to know, in words and in the front matter that Hugging Face reads?"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from data.errors import PublishError
from data.schema import Schema
from data.shards import Written, feature
from data.words import spoken, untagged

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"))  # fmt: skip
SHOWN_CLASSES = 50


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the card says beside what the rows themselves tell.

    Fields:
        purpose: "augment" (real rows may stand beside synthetic ones) or "release" (synthetic rows only).
        verdict, reason: the gate's word and its one sentence.
        family, seed: what drew the rows.
        smallest_detectable_mode: least share of the set whose loss the gate would have seen, 0..1.
        license: identifier as Hugging Face spells it; left out when the plan names none.
        title, description: free words of the plan.
        tags: further tags; notes: further sentences on limits.
        promise: what a release promises, a sentence each.
        moved: what is different from the version before, a sentence each.
        judged, unjudged: names of the checks that could judge the rows, and of those that could not.
    """

    purpose: Literal["augment", "release"] = "augment"
    verdict: str = "PASS"
    reason: str = ""
    family: str = ""
    seed: int | None = None
    smallest_detectable_mode: float | None = None
    license: str | None = None
    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    promise: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: Facts | Mapping[str, Any]) -> Facts:
        """Facts from a mapping. Raises PublishError for an unknown key or purpose."""
        if isinstance(value, Facts):
            return value
        known = [f.name for f in fields(cls)]
        for key in value:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it knows {', '.join(known)}"
                raise PublishError(f"the card has no fact {key!r}; {hint}")
        lists = {key: tuple(value[key]) for key in ("tags", "notes", "promise", "moved", "judged", "unjudged") if key in value}
        facts = cls(**{**value, **lists})
        if facts.purpose not in ("augment", "release"):
            raise PublishError(f"purpose {facts.purpose!r} is unknown; it must be 'augment' or 'release'")
        return facts


def card(facts: Facts, written: Written, schema: Schema, *, dataset: str, version: str | None, data_bytes: int) -> str:
    """README.md: YAML front matter, then the words. `version` is None for what went into quarantine."""
    say = spoken if schema.of_kind("image") else str
    sections = [
        _opening(facts, dataset, version, say),
        _classes(facts, written, schema, say),
        _columns(facts, written, schema),
        _promise(facts),
        _moved(facts),
        say(_making(facts, schema)),
        say(_limits(facts)),
        _loading(dataset, version),
    ]
    front = "\n".join(_yaml(_front(facts, written, schema, dataset, data_bytes)))
    return f"---\n{front}\n---\n\n" + untagged("\n\n".join(section for section in sections if section)) + "\n"


def _front(facts: Facts, written: Written, schema: Schema, dataset: str, data_bytes: int) -> dict[str, Any]:
    modality = "image" if schema.of_kind("image") else "timeseries" if schema.of_kind("series") else "tabular"
    split = {"name": "train", "num_bytes": data_bytes, "num_examples": written.total}
    features = [{"name": f.name, **_card_feature(feature(f.type, _kind(schema, f.name)))} for f in written.arrow]
    front: dict[str, Any] = {
        "pretty_name": facts.title or dataset,
        "license": facts.license,
        "task_categories": _tasks(schema),
        "size_categories": [size_category(written.total)],
        "tags": list(dict.fromkeys(["synthetic", modality, "counterpoise", *facts.tags])),
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
        "dataset_info": {"features": features, "splits": [split], "download_size": data_bytes, "dataset_size": data_bytes},
    }
    return {key: value for key, value in front.items() if value not in (None, [])}


def size_category(rows: int) -> str:
    """The size class of Hugging Face that `rows` falls in."""
    return next((name for limit, name in SIZES if rows < limit), "n>1B")


def _kind(schema: Schema, name: str) -> str:
    return schema[name].kind if name in schema else ""


def _tasks(schema: Schema) -> list[str]:
    if schema.target is None:
        return []
    if schema.of_kind("image"):
        return ["image-classification"]
    if schema.of_kind("series"):
        return []
    return ["tabular-classification" if schema[schema.target].discrete else "tabular-regression"]


def _card_feature(value: dict[str, Any]) -> dict[str, Any]:
    """The JSON form of a feature -> the form the front matter uses (`dtype: int64`, `list: ...`, `struct: [...]`)."""
    kind = value.get("_type")
    if kind == "Image":
        return {"dtype": "image"}
    if kind == "Value":
        return {"dtype": value["dtype"]}
    if kind in ("List", "LargeList"):
        inner = _card_feature(value["feature"])
        name = "list" if kind == "List" else "large_list"
        length = {"length": value["length"]} if "length" in value else {}
        return {name: inner["dtype"] if set(inner) == {"dtype"} else inner, **length}
    return {"struct": [{"name": name, **_card_feature(child)} for name, child in value.items()]}


def _opening(facts: Facts, dataset: str, version: str | None, say: Callable[[str], str]) -> str:
    title = facts.title or dataset
    what = {
        "augment": "Rows drawn to fill what is scarce in a real dataset; `is_synthetic` marks every row that was drawn.",
        "release": "Synthetic rows only: every row was drawn by a generator and none is a real record.",
    }[facts.purpose]
    state = f"Version `{version}`." if version else "**Quarantined**: these rows did not pass the gate."
    verdict = f"**Verdict: {facts.verdict}.** {_capital(_sentence(facts.reason))}".strip()
    parts = (f"# {title}", facts.description, say(what), f"{say(state)} Purpose: `{facts.purpose}`.", verdict)
    return "\n\n".join(part for part in parts if part)


def _classes(facts: Facts, written: Written, schema: Schema, say: Callable[[str], str]) -> str:
    marks = {mark for _, mark in written.counts}
    real, drawn = (sum(n for (_, m), n in written.counts.items() if m is mark) for mark in (False, True))
    head = f"## Rows\n\n{written.total:,} rows" + (f": {real:,} real and {drawn:,} synthetic." if marks != {None} else ".")
    head = say(head)
    if facts.purpose == "augment" and real:
        head += say(
            " The real rows include those that the synthetic ones were judged by: to test a model, keep rows apart that are "
            "not in this dataset."
        )
    if schema.target is None or not schema[schema.target].discrete:
        return head
    counts = class_counts(facts, written, schema)
    lines = [f"| {_cell(schema.target)} | real | synthetic | all |", "| --- | ---: | ---: | ---: |"]
    for each in counts[:SHOWN_CLASSES]:
        n_real, n_drawn = each["real"], each["synthetic"]
        lines.append(f"| {_cell(each['class'])} | {n_real:,} | {n_drawn:,} | {n_real + n_drawn:,} |")
    more = f"\n\n{len(counts) - SHOWN_CLASSES:,} further classes are not shown." if len(counts) > SHOWN_CLASSES else ""
    return head + "\n\n" + "\n".join(lines) + more


def class_counts(facts: Facts, written: Written, schema: Schema) -> list[dict[str, Any]]:
    """`{"class": label, "real": n, "synthetic": n}` of each class, the largest first; one of all rows, whose class is None,
    where there are no classes. Rows without a mark are synthetic in a release, else real."""
    counts: dict[Any, list[int]] = {}
    for (label, mark), n in written.counts.items():
        of = label if schema.target is not None and schema[schema.target].discrete else None
        counts.setdefault(of, [0, 0])[bool(mark) or (mark is None and facts.purpose == "release")] += n
    found = [{"class": label, "real": real, "synthetic": drawn} for label, (real, drawn) in counts.items()]
    return sorted(found, key=lambda each: (-each["real"] - each["synthetic"], str(each["class"])))


def _columns(facts: Facts, written: Written, schema: Schema) -> str:
    lines = ["## Columns", "", "| name | kind | type |", "| --- | --- | --- |"]
    own = {"is_synthetic": "mark"}
    lines += [f"| {_cell(f.name)} | {_kind(schema, f.name) or own.get(f.name, '')} | `{f.type}` |" for f in written.arrow]
    return "\n".join(lines)


def _making(facts: Facts, schema: Schema) -> str:
    family = f"the family `{facts.family}`" if facts.family else "a generator"
    seed = f" with seed {facts.seed}" if facts.seed is not None else ""
    judged = "Before publication the rows were judged against held-out real rows"
    judged += f" by the checks {_and(facts.judged)}" if facts.judged else ""
    judged += f"; {_and(facts.unjudged)} could not judge" if facts.unjudged else ""
    where = "hold the findings, `manifest.json` the"
    if facts.purpose == "release":
        where = ("are the report for the outside: verdict, figure and limit of each check, and nothing of few real rows; the "
                 "full one stays where the rows were made. `manifest.json` holds the")  # fmt: skip
    return (f"## How it was made\n\nDrawn by {family}{seed}. {judged}; `report.html` and `report.json` {where} "
            "sha256 of every file, the plan and the lineage.")  # fmt: skip


def _promise(facts: Facts) -> str:
    if not facts.promise:
        return ""
    return "\n".join(
        ["## What is promised to the people in the real rows", "", *(f"- {_sentence(each)}" for each in facts.promise)]
    )


def _moved(facts: Facts) -> str:
    if not facts.moved:
        return ""
    return "\n".join(["## What moved", "", *(f"- {_sentence(each)}" for each in facts.moved)])


def _limits(facts: Facts) -> str:
    lines = []
    if facts.smallest_detectable_mode is not None:
        share = f"{100 * facts.smallest_detectable_mode:.3g} %"
        lines.append(f"- The smallest mode whose complete loss the gate would have seen holds {share} of the real rows that "
                     "were judged; a rarer one may be missing unnoticed.")  # fmt: skip
    if facts.purpose == "augment":
        lines.append("- Evaluate models on real rows only: synthetic rows in a test set measure the generator, not the model.")
    else:
        lines.append("- Synthetic rows can still tell of the people behind the real ones; the report says what was measured.")
    lines += [f"- {_sentence(note)}" for note in facts.notes]
    return "\n".join(["## Limits", "", *lines])


def _loading(dataset: str, version: str | None) -> str:
    folder = f"{dataset}/{version}" if version else "path/to/this/folder"
    return f"""## How to load

```python
from datasets import load_dataset

rows = load_dataset("{folder}", split="train")
```

or, without `datasets`, `pandas.read_parquet("{folder}/data")`. `croissant.json` describes the same files for `mlcroissant`."""


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text[-1] in ".!?" else text + "."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _and(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _cell(value: object) -> str:
    text = "(missing)" if value is None else " ".join(str(value).split()) or "(blank)"
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _yaml(value: Any, indent: str = "") -> list[str]:
    """Block YAML with JSON scalars: every reader, YAML 1.1 or 1.2, takes a column named "no" for text."""
    if isinstance(value, Mapping):
        lines = []
        for key, child in value.items():
            lines += _entry(f"{indent}{_key(str(key))}:", child, indent + "  ")
        return lines
    lines = []
    for child in value:
        if isinstance(child, Mapping | list) and child:
            block = _yaml(child, indent + "  ")
            lines += [f"{indent}- {block[0].lstrip()}", *block[1:]]
        else:
            lines.append(f"{indent}- {_scalar(child)}")
    return lines


def _entry(head: str, child: Any, indent: str) -> list[str]:
    if isinstance(child, Mapping | list) and child:
        return [head, *_yaml(child, indent)]
    return [f"{head} {_scalar(child)}"]


def _key(text: str) -> str:
    plain = re.fullmatch(r"[a-z]{2,}(_[a-z]+)*", text) and text not in ("no", "on", "yes", "off", "true", "false", "null")
    return text if plain else _scalar(text)


def _scalar(value: object) -> str:
    # JSON escapes an emoji as two surrogates, which YAML reads as two characters; only what YAML cannot hold is escaped.
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]", lambda c: f"\\u{ord(c[0]):04x}", text)
