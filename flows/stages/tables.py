"""The walk of tables that refer to one another: read, profile, fit, sample, and relate, which compares what is between them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from configs.components import build
from configs.components import find as find_family
from configs.load import fill
from configs.plan import Plan
from configs.sources import TablesSource
from data.dataset import Dataset
from data.errors import DataError
from data.personal_values import ready
from data.relations import Relations, Tables
from data.schema import Schema
from flows.run import Run, Stage, digest, write_text
from flows.stages.personal_tables import Anew, Spelled, anew_of, away, decide_tables, numbered_keys, personal_notices, told
from flows.stages.shared import Step, file_sha256, generator_spec, key_of, table_dataset, table_digest
from generators.base import Generator, Progress
from generators.tabular.relational import Relational

#: Where the tables of a run lie: as they were read, and as they were drawn.
READ, DRAWN = "work/tables", "tables"


def tables_fingerprint(source: TablesSource) -> str:
    """sha256 of what the tables hold now: of their files, or of what the database answers."""
    if source.files is None:
        held, relations = load_tables(source)
        return digest({name: table_digest(table) for name, table in held.items()}, relations.to_json())
    return digest({name: [file_sha256(p) for p in _files(Path(path))] for name, path in source.files.items()})


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder; correct data.files (it is relative to {Path.cwd()})")
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def load_tables(source: TablesSource) -> tuple[dict[str, pa.Table], Relations]:
    """The tables of a source and the keys between them."""
    from data.sources.tables import read

    url = None if source.url is None else fill(source.url)
    return read(url=url, files=source.files, tables=source.tables, primary=source.primary, keys=source.keys)


def with_schemas(
    plan: Plan,
    held: Mapping[str, pa.Table],
    relations: Relations,
    *,
    kinds: Mapping[str, Mapping[str, str]] | None = None,
    away: Mapping[str, Collection[str]] | None = None,
) -> Tables:
    """The tables with what their columns mean, less those that the plan drops.

    kinds: table -> column -> its kind, where the plan states none. away: table -> columns that no family is given.

    Raises DataError for keys that do not hold, and for a stated column that is not there."""
    stated: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in held}
    kept = dict(held)
    for called, column in plan.columns.items():
        name, _, own = called.partition(".")
        if name not in held or own not in held[name].column_names:
            raise DataError(f"columns.{called}: there is no such column; write table.column, of {', '.join(held)}")
        if column.drop:
            kept[name] = kept[name].drop_columns([own])
        else:
            stated[name][own] = column.stated()
    for name, known in (kinds or {}).items():
        stated[name] |= {own: {**stated[name].get(own, {}), "kind": kind} for own, kind in known.items()}
    for name, columns in (away or {}).items():
        kept[name] = kept[name].drop_columns(list(columns))
        stated[name] = {own: fields for own, fields in stated[name].items() if own not in columns}
    return Tables.from_arrow(kept, relations, stated=stated)


def _read(run: Run, progress: Progress) -> Mapping[str, Any]:
    source = run.plan.data
    assert isinstance(source, TablesSource)
    held, relations = load_tables(source)
    for name, table in held.items():
        table_dataset(table.replace_schema_metadata(None)).write_parquet(_path(run, READ, name))
    write_text(run.folder / "work/relations.json", json.dumps(relations.to_json(), indent=1))
    rows = sum(table.num_rows for table in held.values())
    seal = digest({name: table_digest(table) for name, table in held.items()})
    return {"tables": len(held), "rows": rows, "data_sha256": seal}


def _path(run: Run, folder: str, name: str) -> Path:
    if "/" in name or name.startswith("."):
        raise DataError(f"table {name!r} cannot be the name of a file; rename it, or leave it out of data.tables")
    return run.folder / folder / f"{name}.parquet"


def _profile(run: Run, progress: Progress) -> Mapping[str, Any]:
    relations = Relations.from_json(json.loads((run.folder / "work/relations.json").read_text()))
    held = {name: pq.read_table(_path(run, READ, name)) for name in relations.tables}
    found, kinds = decide_tables(run.plan, held, relations)
    anew = anew_of(found, held, relations) if run.plan.purpose == "release" else None
    out = away(found, anew) if anew is not None else None
    tables = with_schemas(run.plan, held, relations, kinds=kinds, away=out)
    facts = {
        "relations": relations.to_json(),
        "schemas": {name: part.schema.to_json() for name, part in tables.parts.items()},
        "notices": list(tables.notices),
        "pii": [one.to_json() for one in told(found, relations)],
        **({"anew": anew.to_json()} if anew is not None else {}),
    }
    write_text(run.folder / "profile.json", json.dumps(facts, indent=1, default=str))
    # A line for each column left out would bury the rest.
    left = [f"{len(tables.notices)} columns are left out: {'; '.join(tables.notices[:3])}"] if tables.notices else []
    more = " ... (profile.json lists all)" if len(tables.notices) > 3 else ""
    notices = [*(said + more for said in left), *personal_notices(run.plan, found, relations)]
    return {"tables": len(held), "keys": len(relations.foreign), **({"notices": notices} if notices else {})}


def run_tables(run: Run) -> Tables:
    """The real tables of a run, as the profile stage settled on them."""
    facts = json.loads((run.folder / "profile.json").read_text())
    return _tables(run, READ, facts)


def drawn_tables(run: Run) -> Tables:
    """The tables that a run has drawn."""
    return _tables(run, DRAWN, json.loads((run.folder / "profile.json").read_text()))


def _tables(run: Run, folder: str, facts: Mapping[str, Any]) -> Tables:
    parts = {}
    for name, value in facts["schemas"].items():
        schema = Schema.from_json(value)
        table = pq.read_table(_path(run, folder, name), columns=schema.names)
        # Keys were brought to the type of what they refer to.
        parts[name] = Dataset(table.cast(schema.arrow()), schema)
    return Tables(parts, Relations.from_json(facts["relations"]))


def _fit(run: Run, progress: Progress) -> Mapping[str, Any]:
    plan = run.plan
    family = build(generator_spec(plan), Generator, package="generators")
    checkpoint = run.folder / "checkpoint"
    resumed = checkpoint.is_dir() and any(checkpoint.iterdir())
    fitted = Relational(family).fit(_given(run), seed=plan.seed, progress=progress, checkpoint=checkpoint)
    beside = run.folder / "model.part"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    fitted.save(beside)
    beside.rename(run.folder / "model")
    shutil.rmtree(checkpoint, ignore_errors=True)
    digest_of = file_sha256(run.folder / "model/envelope.json")
    return {"family": plan.generator.use, "resumed": resumed, "model_sha256": digest_of}


def _given(run: Run) -> Tables:
    """What the family learns: the tables, of a release with numbers in place of keys."""
    anew = _anew(run)
    return run_tables(run) if anew is None else numbered_keys(run_tables(run), anew)


def _anew(run: Run) -> Anew | None:
    value = json.loads((run.folder / "profile.json").read_text()).get("anew")
    return None if value is None else Anew.from_json(value)


def _spelled(run: Run) -> Callable[[str, pa.RecordBatch], pa.RecordBatch]:
    """What drawn rows go through before they are written: of a release, keys and personal data are made anew."""
    anew = _anew(run)
    if anew is None:
        return lambda name, batch: batch
    held = {name: pq.read_table(_path(run, READ, name)) for name in anew.keys}
    return Spelled(anew, held, run.plan.seed + 1, run.plan.privacy.locale, run.secret)


def _sample(run: Run, progress: Progress) -> Mapping[str, Any]:
    family = find_family(run.plan.generator.use, Generator, package="generators")
    model = Relational.load(run.folder / "model", family)
    (run.folder / DRAWN).mkdir(parents=True, exist_ok=True)
    rows: dict[str, int] = {}
    writers: dict[str, pq.ParquetWriter] = {}
    spelled = _spelled(run)
    try:
        for name, batch in model.sample(run.plan.sample.scale or 1.0, seed=run.plan.seed + 1, progress=progress):
            written = spelled(name, batch)
            if name not in writers:
                writers[name] = pq.ParquetWriter(_path(run, DRAWN, name), written.schema, compression="zstd")
            writers[name].write_batch(written)
            rows[name] = rows.get(name, 0) + batch.num_rows
    finally:
        for writer in writers.values():
            writer.close()
    return {"tables": rows, "rows": sum(rows.values())}


def _relate(run: Run, progress: Progress) -> Mapping[str, Any]:
    from validators.relations import compare

    told = compare(run_tables(run), drawn_tables(run), seed=run.plan.seed)
    holds = not told.faults
    says = "every key holds" if holds else f"{len(told.faults)} faults of keys, the first: {told.faults[0]}"
    report = {
        "keys_hold": holds,
        "not_judged": "modes, copies and the other checks of the gate: this run learned all rows, so none are left to judge by",
        "figures": told.figures(),
        **told.to_json(),
    }
    write_text(run.folder / "relations.json", json.dumps(report, indent=1))
    return {"tables": len(told.tables), "says": says, "keys_hold": holds}


_ROOMS = ("generators", "data")
STEPS: dict[str, Step] = {
    step.stage.name: step
    for step in (
        Step(
            Stage("read", (READ, "work/relations.json")),
            key_of("read", None, "data/sources", "data/relations.py", part=lambda p: p.data),
            _read,
        ),
        Step(
            Stage("profile", ("profile.json",)),
            key_of(
                "profile",
                "read",
                "data/infer.py",
                "data/relations.py",
                "data/schema.py",
                *("data/personal.py", "data/personal_values.py", "data/personal_words.py", "flows/stages/personal_tables.py"),
                part=lambda p: [p.columns, p.purpose, p.privacy.locale, ready()],
            ),
            _profile,
        ),
        Step(
            Stage("fit", ("model",)),
            key_of("fit", "profile", *_ROOMS, part=lambda p: [p.generator, p.device, p.seed]),
            _fit,
        ),
        Step(
            Stage("sample", (DRAWN,)),
            key_of("sample", "fit", *_ROOMS, part=lambda p: [p.sample, p.seed, p.privacy.locale]),
            _sample,
        ),
        Step(
            Stage("relate", ("relations.json",)),
            key_of("relate", "sample", "validators", "data", part=lambda p: p.seed),
            _relate,
        ),
    )
}
