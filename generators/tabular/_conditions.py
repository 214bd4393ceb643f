"""How does a family that cannot be told a condition still give rows that hold it?

It draws, keeps the rows that hold the condition, and gives up with one sentence when almost none do. A family calls
`resolve(where, schema)` once, to learn which levels are meant, and then `matching(...)` with a function that draws
unconditioned rows. Columns that are made anew for every row (ids) belong after this step, so that no number is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.encode_values import Scale
from data.schema import Column, Schema, arrow_type
from generators.base import Condition, GeneratorError

#: Draws this many unconditioned rows before it judges that a condition is too rare.
PATIENCE = 50_000
#: Gives up when fewer than this share of the drawn rows hold the condition; bounds the work at n / LEAST_SHARE rows.
LEAST_SHARE = 0.0005
#: Rows in one unconditioned draw.
DRAW_ROWS = 10_000

#: (rows, seed) -> that many rows, the same ones for the same seed.
Draw = Callable[[int, int], pa.RecordBatch]


def part_seed(seed: int, part: int) -> int:
    """The seed of the `part`-th batch of a draw: independent streams of one seed, 0 <= result < 2**32."""
    return int(np.random.SeedSequence([seed % 2**63, part]).generate_state(1)[0])


def resolve(where: Condition | None, schema: Schema) -> dict[str, Any]:
    """What `where` asks of each column, in the column's own spelling and type: {column: value}, {} for no condition.

    Raises GeneratorError for a column that is not learned or a value that it cannot hold, DataError (with the nearest
    name) for a column or level that the data does not have."""
    return {name: _value(schema[name], wanted) for name, wanted in (where or {}).items()}


def matches(batch: pa.RecordBatch, wanted: Mapping[str, Any]) -> pa.BooleanArray:
    """Which rows hold every value of a resolved condition: (rows,) booleans without nulls; None means a null."""
    keep = pa.array(np.ones(batch.num_rows, dtype=bool))
    for name, value in wanted.items():
        keep = pc.and_(keep, _holds(batch.column(name), value))
    return keep


def matching(
    draw: Draw, n: int, wanted: Mapping[str, Any], *, seed: int, rows: int = DRAW_ROWS, share: float | None = None
) -> Iterator[pa.RecordBatch]:
    """Exactly `n` rows that hold the resolved condition `wanted`, in batches of at most `rows`.

    `draw(rows, seed)` gives unconditioned rows; each call gets a seed of its own, derived from `seed`. `share` is what
    the training data says of the condition (0..1); it only sizes the draws, so that a frequent condition costs little.
    With an empty `wanted` every drawn row is kept.

    Raises GeneratorError when fewer than LEAST_SHARE of PATIENCE drawn rows hold the condition."""
    drawn = kept = part = 0
    while kept < n:
        size = next_size(n - kept, rows, share=1.0 if not wanted else kept / drawn if kept else share)
        batch = draw(size, part_seed(seed, part))
        if wanted:
            batch = batch.filter(matches(batch, wanted))
        batch = batch.slice(0, n - kept)
        drawn, kept, part = drawn + size, kept + batch.num_rows, part + 1
        if kept < n and drawn >= PATIENCE and kept < LEAST_SHARE * drawn:
            raise GeneratorError(_too_rare(wanted, kept, drawn))
        if batch.num_rows:
            yield batch


def place_of(scale: Scale, value: object, name: str) -> float:
    """A wanted number or moment in the units of its column's scale."""
    return float(scale.read(pa.array([value], type=arrow_type(scale.dtype)), name)[0])


def unseen(name: str, value: object) -> str:
    """What is said of a level, or of null, that train does not have."""
    shown = repr(value) if isinstance(value, str) else str(value)
    what = "is missing there" if value is None else f"holds {shown}"
    return f"where.{name}: no training row {what}; name a value that was seen"


def outside(name: str, value: object, scale: Scale) -> str:
    """What is said of a number or moment beyond those of train, with the range as the column writes it."""
    low, high = scale.ends()
    return f"where.{name}: no training row holds {value}; its values lie between {low} and {high}, so name one of these"


def next_size(missing: int, rows: int, *, share: float | None) -> int:
    """Rows of the next draw, of which about `share` will be kept, when `missing` are still to come: at most `rows`."""
    if share is None:
        return rows
    # A fifth more than expected: one draw mostly suffices, and no draw is larger than `rows`.
    return max(1, min(rows, missing if share >= 1 else int(1.2 * missing / max(share, LEAST_SHARE)) + 32))


def _holds(values: pa.Array, value: Any) -> pa.BooleanArray:
    if value is None:
        return pc.is_null(values)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pc.fill_null(pc.equal(values, pa.scalar(value, values.type)), False)


def _value(column: Column, wanted: object) -> Any:
    if not column.learned:
        raise GeneratorError(f"where.{column.name}: kind {column.kind} cannot be a condition; name a learned column")
    if wanted is None and not column.nullable:
        raise GeneratorError(f"where.{column.name}: the column has no missing values, so none can be asked for")
    if wanted is None:
        return None
    return column.level(wanted) if column.discrete else _scalar(column, wanted)


def _scalar(column: Column, wanted: object) -> Any:
    dtype = arrow_type(column.dtype)
    try:
        return pa.scalar(wanted, dtype).as_py() if not isinstance(wanted, str) else pa.scalar(wanted).cast(dtype).as_py()
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        raise GeneratorError(f"where.{column.name}: {wanted!r} is not {_form(column, dtype)}") from None


def _form(column: Column, dtype: pa.DataType) -> str:
    """What a value of the column is, and how it is written: its least value is the example."""
    if column.kind == "datetime":
        day = pa.types.is_date(dtype)
        example = str(column.low or ("2026-03-31" if day else "2026-03-31 14:30:00")).replace("T", " ")
        return f"{'a date' if day else 'a date with a time'}; write one like {example}"
    what = "a whole number" if pa.types.is_integer(dtype) else "a number"
    if column.low is None or column.high is None:
        return f"{what} that the column can hold; write one like 12"
    return f"{what} that the column can hold; its values lie between {column.low} and {column.high}"


def _too_rare(wanted: Mapping[str, Any], kept: int, drawn: int) -> str:
    asked = ", ".join(f"{name}={value}" for name, value in wanted.items())
    return (
        f"only {kept} of {drawn} drawn rows hold {asked}: the model hardly ever makes such rows; "
        "train longer, ask for fewer conditions, or use a family that draws conditions directly (generator.use: autoregressive)"
    )
