"""How do machines find the files and columns of a published dataset? A Croissant 1.1 description of it.

Source: MLCommons Croissant format specification 1.1 (http://mlcommons.org/croissant/1.1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from data.card import Facts
from data.schema import Schema

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
PARQUET = "application/x-parquet"


def croissant(
    facts: Facts, arrow: pa.Schema, schema: Schema, *, dataset: str, number: int | None, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The description as JSON-LD. `files`: path below the version -> its sha256 and bytes."""
    value: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": dataset,
        "description": facts.description or f"{dataset}: synthetic rows for {facts.purpose}, verdict {facts.verdict}.",
        "license": facts.license,
        "version": f"{number}.0.0" if number else None,
        "keywords": ["synthetic", *facts.tags],
        "isLiveDataset": False,
        "distribution": [*(_file(path, about) for path, about in files.items()), _file_set()],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": _fields(arrow, schema)}],
    }
    return {key: entry for key, entry in value.items() if entry is not None}


def _file(path: str, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path.rsplit("/", 1)[-1],
        "contentUrl": path,
        "contentSize": f"{about['bytes']} B",
        "encodingFormat": PARQUET,
        "sha256": about["sha256"],
    }


def _file_set() -> dict[str, Any]:
    includes = "data/train-*.parquet"
    return {"@type": "cr:FileSet", "@id": "train", "name": "train", "encodingFormat": PARQUET, "includes": includes}


def _fields(arrow: pa.Schema, schema: Schema) -> list[dict[str, Any]]:
    # A column without a name cannot be extracted by name, which is all that the format knows.
    taken: set[str] = set()
    return [_field(f, schema, _identity(f.name, taken)) for f in arrow if f.name]


def _identity(name: str, taken: set[str]) -> str:
    """`rows/<name>` with what no identifier may hold replaced, and unique in spite of that."""
    base = "rows/" + (re.sub(r"[^\w.-]+", "_", name).strip("_") or "column")
    out, again = base, 2
    while out in taken:
        out, again = f"{base}_{again}", again + 1
    taken.add(out)
    return out


def _field(column: pa.Field, schema: Schema, identity: str) -> dict[str, Any]:
    meaning = schema[column.name].kind if column.name in schema else ""
    source: dict[str, Any] = {"fileSet": {"@id": "train"}, "extract": {"column": column.name}}
    kind = data_type(column.type, meaning)
    value = {"@type": "cr:Field", "@id": identity, "name": column.name, "dataType": kind, "source": source}
    if meaning in ("image", "mask"):
        source["transform"] = {"jsonPath": "bytes"}
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        length = column.type.list_size if pa.types.is_fixed_size_list(column.type) else -1
        value |= {"isArray": True, "arrayShape": str(length), "dataType": data_type(column.type.value_type)}
    return value


def data_type(kind: pa.DataType, meaning: str = "") -> str:
    """The Croissant data type of an Arrow type; text where there is none closer."""
    if meaning in ("image", "mask"):
        return "sc:ImageObject"
    if pa.types.is_dictionary(kind):
        return data_type(kind.value_type)
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "sc:Float"
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    return "sc:Date" if pa.types.is_date(kind) else "sc:Text"
