"""Which columns does an attacker know, and which are to be guessed?"""

from __future__ import annotations

from dataclasses import dataclass

from data.errors import DataError
from data.schema import Column, Schema
from validators.base import Privacy

#: Columns that are guessed in turn where none is named as secret.
MOST_SECRETS = 12


@dataclass(frozen=True)
class Roles:
    """The learned columns and what they are to an attacker. quasi: names, empty where none are stated; secrets: names, the
    target first; left: how many more could have been guessed; stated: whether the secrets are."""

    columns: tuple[Column, ...]
    quasi: tuple[str, ...]
    secrets: tuple[str, ...]
    left: int
    stated: bool
    k: int

    @classmethod
    def of(cls, schema: Schema, privacy: Privacy) -> Roles:
        """Raises DataError, with the nearest name, for a column that is not there, that plays two parts or that is no learned
        one, and for a k below 2."""
        for role in ("quasi", "secret"):
            for name in getattr(privacy, role):
                _refuse(schema, name, role)
        if both := [name for name in privacy.secret if name in privacy.quasi]:
            raise DataError(f"privacy: column {both[0]!r} is named as quasi and as secret; what is known needs no guess")
        if privacy.k < 2:
            raise DataError(f"privacy.k must be 2 or more, not {privacy.k}")
        names = [column.name for column in schema.learned]
        # Where all that there is is known, each column is guessed from the others.
        open_ = [name for name in names if name not in privacy.quasi] or names
        if schema.target in open_:
            open_ = [schema.target, *(name for name in open_ if name != schema.target)]
        secrets = tuple(privacy.secret) or tuple(open_[:MOST_SECRETS])
        left = 0 if privacy.secret else max(len(open_) - MOST_SECRETS, 0)
        return cls(tuple(schema.learned), tuple(privacy.quasi), secrets, left, bool(privacy.secret), privacy.k)

    @property
    def names(self) -> list[str]:
        """All learned columns."""
        return [column.name for column in self.columns]

    def known(self, secret: str) -> list[str]:
        """What is known when this column is guessed; empty where there is no other column."""
        hidden = set(self.secrets) if self.stated else {secret}
        return [name for name in (self.quasi or self.names) if name not in hidden]

    @property
    def identifying(self) -> list[str]:
        """The quasi-identifiers: the stated ones, or all learned columns that are not stated as secret."""
        hidden = set(self.secrets) if self.stated else set()
        return list(self.quasi) or [name for name in self.names if name not in hidden] or self.names

    @property
    def halves(self) -> tuple[list[str], list[str]]:
        """What two owners of data may hold of the same people: the quasi-identifiers and the rest, or every second column
        where none are stated or nothing is left beside them. Either is empty where there is a single column."""
        rest = [name for name in self.names if name not in self.quasi]
        return (list(self.quasi), rest) if self.quasi and rest else (self.names[::2], self.names[1::2])


def _refuse(schema: Schema, name: str, role: str) -> None:
    try:
        column = schema[name]
    except DataError as error:
        raise DataError(f"privacy.{role}: {error}") from None
    if not column.learned:
        raise DataError(
            f"privacy.{role}: column {name!r} is of kind {column.kind}, which no family learns, so that no attack can use it; "
            "leave it out, or declare its kind"
        )
