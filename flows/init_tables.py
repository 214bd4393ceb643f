"""What would a first plan for tables that refer to one another be?"""

from __future__ import annotations

from pathlib import Path

from data.relations import Tables
from flows.init import NOTE, scalar, schema_reference


def tables_plan(path: Path, name: str, url: str, tables: Tables) -> str:
    """The text of a plan that reads all tables of a database with the keys that it states."""
    rows = sum(part.num_rows for part in tables.parts.values())
    relations = tables.relations
    lines = [
        f"# yaml-language-server: $schema={schema_reference(path)}",
        f"# counterpoise run {path}",
        f"# {len(relations.tables)} tables, {rows:,} rows, {len(relations.foreign)} foreign keys; the rest has defaults",
        *(f"{NOTE}{notice}" for notice in tables.notices),
        f"name: {name}",
        "seed: 0                 # all randomness comes from here",
        "data:",
        "  use: tables",
        f"  url: {scalar(url)}",
        "  tables:               # parents before their children; leave out what should not be read",
        *(f"    - {scalar(table)}{_remark(tables, table)}" for table in relations.order()),
        "  # keys: [child.column -> parent.column]     # foreign keys that the database does not state",
        "",
        "# columns:              # e.g. Customer.Company: {drop: true}, or another kind than was inferred",
        "",
        "generator:",
        "  use: autoregressive   # draws the rows of each table; other families are told less of parents and siblings",
        "",
        "sample:",
        "  scale: 1              # how many times as many rows as there are",
        "",
    ]
    return "\n".join(lines)


def _remark(tables: Tables, table: str) -> str:
    keys = ", ".join(f"{key.column} -> {key.parent}" for key in tables.relations.of(table))
    return f"  # {tables[table].num_rows:,} rows" + (f"; {keys}" if keys else "")
