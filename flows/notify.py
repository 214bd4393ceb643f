"""Who is told of what became of a night's run, and where to?

Addresses and tokens are never in a plan: it names an environment variable that holds them (as Apprise spells addresses: a
webhook json://host/path, slack://…, mailto://…), or a block that is kept on the Prefect server."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from configs.plan import NotifySpec
from data.errors import UserError

if TYPE_CHECKING:
    from apprise import Apprise


#: Outcome -> what Apprise calls such news: services show it by a colour or a sign.
KINDS = {"published": "success", "blocked": "warning", "failed": "failure"}


def check_notify(spec: NotifySpec) -> None:
    """Raises UserError where the variable that the plan names is not set, or holds an address that is none."""
    _addresses(spec)


def notify(spec: NotifySpec, outcome: str, subject: str, body: str) -> list[str]:
    """Tell everybody that the plan names of an outcome that it names: a sentence for each that could not be told.

    Never raises for an address that does not answer: the run is what it is. Nothing of an address is in the sentences."""
    if outcome not in spec.on:
        return []
    lost: list[str] = []
    for place, address in enumerate(_addresses(spec), start=1):
        if not _sent(address, subject, body, KINDS.get(outcome, "info")):
            lost.append(f"address {place} of {spec.addresses} could not be told")
    for name in spec.blocks:
        try:
            _block(name, subject, body)
        except Exception as error:  # whatever a third party's block raises: it may hold a token, so that only its kind is told
            lost.append(f"block {name} could not be told ({type(error).__name__})")
    return lost


def _addresses(spec: NotifySpec) -> Sequence[str]:
    if spec.addresses is None:
        return ()
    held = os.environ.get(spec.addresses, "").split()
    if not held:
        raise UserError(
            f"notify.addresses: the environment variable {spec.addresses} is not set; let it hold addresses as Apprise spells "
            "them, or leave notify out"
        )
    apprise = _apprise()
    for place, address in enumerate(held, start=1):
        if apprise.instantiate(address) is None:
            raise UserError(f"notify.addresses: address {place} of {spec.addresses} is none that Apprise knows")
    return held


def _apprise() -> type[Apprise]:
    """The client, whose log lines would quote addresses."""
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    return Apprise


def _sent(address: str, subject: str, body: str, kind: str) -> bool:
    from apprise import NotifyType

    client = _apprise()()
    client.add(address)
    return bool(client.notify(title=subject, body=body, notify_type=NotifyType(kind)))


def _block(name: str, subject: str, body: str) -> None:
    from prefect.blocks.core import Block

    block: Any = Block.load(name)
    with block.raise_on_failure():  # else one that is not heard says nothing of it
        block.notify(body, subject)
