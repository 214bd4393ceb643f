"""Which tables is a version written to besides, once it was published?"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from importlib.util import find_spec

import pyarrow as pa

from configs.errors import KeyFault
from configs.load import fill
from configs.plan import Plan
from data.sinks import Told

#: What each kind of table needs installed.
LIBRARIES = {"delta": "deltalake", "iceberg": "pyiceberg"}


def check_sinks(plan: Plan) -> None:
    """Raises KeyFault for a table whose library is not installed: it would be missed only after everything was learned."""
    for place, sink in enumerate(plan.publish.sinks):
        if find_spec(LIBRARIES[sink.use]) is None:
            raise KeyFault(
                ("publish", "sinks", place, "use"),
                f"{sink.use} needs {LIBRARIES[sink.use]}; install it with `pip install -c constraints.txt -e '.[{sink.use}]'`",
            )


def write_sinks(plan: Plan, told: Told, rows: Callable[[], Iterable[pa.RecordBatch]], schema: pa.Schema) -> list[str]:
    """Every table of the plan, each with one version of its own for this version; where they are.

    A table that has it already is left as it is. Raises UserError for one that cannot be written; the others before it are."""
    out = []
    for sink in plan.publish.sinks:
        options = sink.model_dump(exclude={"use"})
        if "catalog" in options:
            options["catalog"] = fill(options["catalog"])
        where = {"endpoint": plan.publish.endpoint, "region": plan.publish.region}
        write = importlib.import_module(f"data.sinks.{sink.use}").write
        out.append(f"{sink.use} {write(rows(), schema, told, **options, **where)}")
    return out
