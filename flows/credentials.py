"""Where do credentials of stores come from, if not from the environment? From a Secret block of the Prefect server."""

from __future__ import annotations

import os

from data.errors import UserError

#: Blocks whose content is in the environment already.
_LENT: set[str] = set()


def lend(block: str | None) -> None:
    """Put what a Secret block of the Prefect server holds into the environment of this process, where stores look for it.

    Raises UserError, in which nothing of the block stands."""
    if block is None or block in _LENT:
        return
    try:
        from prefect.blocks.system import Secret

        held = Secret.load(block).get()  # type: ignore[union-attr]
    except Exception as error:  # whatever a server or a block raises may quote what it holds
        raise UserError(
            f"publish.credentials: the block secret/{block} cannot be loaded ({type(error).__name__}); save it on the server "
            "that PREFECT_API_URL names"
        ) from None
    if not isinstance(held, dict) or not all(isinstance(value, str) for value in held.values()):
        raise UserError(
            f"publish.credentials: the block secret/{block} holds no environment; let it hold a JSON object of names and texts"
        )
    os.environ.update({str(name): value for name, value in held.items()})
    _LENT.add(block)
