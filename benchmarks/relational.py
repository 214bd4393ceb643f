"""How like real ones are tables that are drawn together, beside SDV's HMA and beside children given to parents at random?

    python -m benchmarks.relational --seeds 0 1 2

Chinook (11 tables, up to four levels) and parts of it, some of which SDV's public HMA takes. A fit learns all rows; there are
too few to set some aside, so a figure says how like train the drawn tables are, not whether they are new.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from benchmarks.cells import Cells
from benchmarks.relational_record import record
from data.dataset import Dataset
from data.errors import UserError
from data.relations import Relations, Tables
from data.sources.tables import read
from generators.tabular.autoregressive import Autoregressive
from generators.tabular.bootstrap import Bootstrap
from generators.tabular.relational import Relational
from validators.relations import compare, scattered

#: Sets of tables: all of them, three that hang on one another, and two of a single level.
SETS: dict[str, tuple[str, ...] | None] = {
    "chinook": None,
    "sales": ("Customer", "Invoice", "InvoiceLine"),
    "invoices": ("Customer", "Invoice"),
    "tracks": ("Album", "Genre", "MediaType", "Track"),
}
ARMS = ("autoregressive", "bootstrap", "at random", "sdv:HMA")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the store lacks, write the page; the exit code."""
    options = _options(arguments)
    cells = Cells(Path(options.store))
    try:
        for seed in options.seeds:
            for name in options.sets:
                real = tables(name)
                for arm in options.arms:
                    key = f"{name}|{arm}|{seed}"
                    if key in cells.held and not options.again:
                        continue
                    print(key, file=sys.stderr, flush=True)
                    cells.keep({key: cell(real, arm, seed)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    text = record(cells.held, options.sets, options.arms, options.seeds)
    print(text)
    if options.out:
        Path(options.out).write_text(text)
    return 0


def tables(name: str) -> Tables:
    """A set of Chinook's tables. Raises UserError when the database is not there."""
    folder = Path(os.environ.get("COUNTERPOISE_DATA", "data"))
    held, relations = read(url=f"sqlite:///{folder / 'chinook/chinook.sqlite'}", tables=SETS[name])
    # The genres' names are no persons', which only a reader can tell.
    stated = {"Genre": {"Name": {"kind": "categorical"}}} if "Genre" in held else {}
    return Tables.from_arrow(held, relations, stated=stated)


def cell(real: Tables, arm: str, seed: int) -> dict[str, Any]:
    """One fit and one draw: seconds, and the comparison; {"error": why} where it is refused."""
    started = time.process_time()
    try:
        draw = _fitted(real, arm, seed)
    except Exception as error:
        # Another's library refuses as it likes: its own words are the result.
        if arm != "sdv:HMA":
            raise
        return {"error": " ".join(str(error).split())}
    fitted = time.process_time()
    made = draw()
    drawn = time.process_time()
    told = compare(real, made, seed=seed)
    return {"fit_cpu_s": fitted - started, "draw_cpu_s": drawn - fitted, "figures": told.figures(), **told.to_json()}


def _fitted(real: Tables, arm: str, seed: int) -> Callable[[], Tables]:
    if arm == "at random":
        return lambda: scattered(real, seed=seed)
    if arm == "sdv:HMA":
        return _hma(real, seed)
    rows = {"autoregressive": Autoregressive(device="cpu"), "bootstrap": Bootstrap()}[arm]
    model = Relational(rows).fit(real, seed=seed)
    return lambda: _like(real, model.draw(seed=seed))


def _like(real: Tables, made: dict[str, pa.Table]) -> Tables:
    return Tables({name: Dataset(made[name], part.schema) for name, part in real.parts.items()}, real.relations)


def _hma(real: Tables, seed: int) -> Callable[[], Tables]:
    """SDV's hierarchical synthesizer on the same columns, with the same keys stated."""
    import numpy as np
    import torch
    from sdv.metadata import Metadata
    from sdv.multi_table import HMASynthesizer

    frames = {name: _frame(part) for name, part in real.parts.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        synthesizer = HMASynthesizer(Metadata.load_from_dict(_metadata(real.relations, real)), verbose=False)
        # It draws from the process's own randomness.
        np.random.seed(seed)
        torch.manual_seed(seed)
        synthesizer.fit(frames)
    return lambda: _from_frames(real, synthesizer.sample_scale(scale=1.0))


def _frame(part: Dataset) -> pd.DataFrame:
    """The rows in the types that SDV expects: exact decimals and times in seconds it takes for something else."""
    frame = part.to_pandas()
    for column in part.schema:
        if column.kind == "datetime":
            frame[column.name] = frame[column.name].astype("datetime64[ns]")
        elif column.kind == "numeric":
            frame[column.name] = frame[column.name].astype("float64")
    return frame


def _metadata(relations: Relations, real: Tables) -> dict[str, Any]:
    kinds = {"numeric": "numerical", "integer": "numerical", "datetime": "datetime"}
    out: dict[str, Any] = {"METADATA_SPEC_VERSION": "V1", "tables": {}, "relationships": []}
    for name, part in real.parts.items():
        columns = {c.name: {"sdtype": "id" if c.kind == "id" else kinds.get(c.kind, "categorical")} for c in part.schema}
        out["tables"][name] = {"columns": columns}
        if len(relations.primary[name]) == 1:
            out["tables"][name]["primary_key"] = relations.primary[name][0]
    out["relationships"] = [
        {"parent_table_name": k.parent, "parent_primary_key": k.key, "child_table_name": k.table, "child_foreign_key": k.column}
        for k in relations.foreign
    ]
    return out


def _from_frames(real: Tables, made: dict[str, pd.DataFrame]) -> Tables:
    parts = {}
    for name, part in real.parts.items():
        schema = part.schema.arrow()
        table = pa.Table.from_pandas(made[name][schema.names], preserve_index=False)
        parts[name] = Dataset(table.cast(schema, safe=False), part.schema)
    return Tables(parts, real.relations)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.relational", description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--sets", nargs="+", choices=SETS, default=tuple(SETS))
    cli.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    cli.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    cli.add_argument("--store", default="docs/benchmarks/relational.json", help="where finished cells are kept")
    cli.add_argument("--again", action="store_true", help="take cells that are in the store once more")
    cli.add_argument("--out", default="docs/benchmarks/relational.md", help="the Markdown page; empty for none")
    return cli.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
