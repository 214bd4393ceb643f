"""Does a query only read? A plan may come from elsewhere, and a source must be after it what it was before."""

from __future__ import annotations

import re

from data.errors import DataError

#: Texts, quoted names and comments, in which no word counts.
_QUOTED = re.compile(
    r"[eE]'(?:\\.|''|[^'\\])*'|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL
)
#: What a query that reads begins with; DuckDB's may begin with FROM.
READS = ("select", "with", "values", "table", "from")


def check_query(query: str, shown: str) -> None:
    """Raises DataError for several statements, and for one that is no SELECT. shown: the database, for the sentence."""
    bare = _QUOTED.sub(" '' ", query).strip().rstrip(";").strip()
    if ";" in bare:
        raise DataError(f"{shown}: the query holds several statements, and a source is only read; write one SELECT")
    first = (re.findall(r"[A-Za-z]+", bare) or [""])[0].lower()
    if first not in READS:
        raise DataError(
            f"{shown}: the query begins with {first.upper() or 'nothing'}, and a source is only read; write a SELECT"
        )
