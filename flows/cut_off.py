"""What becomes of a night whose process is gone? Its server thinks that it runs, and would leave out every night after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flows import synthesize  # noqa: F401  sets what the library reads as it is imported

# isort: split
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed

#: States in which a night counts as one that runs.
AT_WORK = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
SAID = "cut off as its schedule was stopped; the next night goes on from its last checkpoint"


def let_go(names: Sequence[str]) -> list[str]:
    """Tell the server that nights of these deployments that still count as running are over: the deployments' names, each once.

    A server that does not answer is told nothing: where it keeps leases, they run out."""
    found: list[str] = []
    if not PREFECT_API_URL.value():
        return found
    with suppress(Exception), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["nightly"])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=list(names))),
            flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK))),
        )
        called = {each.id: each.name for each in client.read_deployments()}
        for run in runs:
            client.set_flow_run_state(run.id, Crashed(message=SAID))
            name = called.get(run.deployment_id, "") if run.deployment_id else ""
            found += [name] if name and name not in found else []
    return found


def keep(*deployments: RunnerDeployment, limit: int) -> None:
    """As the library's `serve`, until Ctrl-C or SIGTERM, by which a service manager stops a service: both end it alike.

    The library's own way with SIGTERM leaves nights at work, and a coroutine that nobody awaits. limit: nights at once."""
    runner = Runner(limit=limit)
    runner.handle_sigterm = _interrupt  # type: ignore[method-assign]
    for each in deployments:
        runner.add_deployment(each)
    with suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())


def _interrupt(*_: Any) -> None:
    # Not by SIGINT, which a process that a script has put into the background ignores.
    raise KeyboardInterrupt
