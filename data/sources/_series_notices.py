"""How does a reader of series hand on what it has to tell?"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from data.sources._pictures import NOTICES


def with_notices(table: pa.Table, said: Sequence[str]) -> pa.Table:
    """The table with these sentences in its metadata, beside what stands there."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), NOTICES: json.dumps(list(said)).encode()})
