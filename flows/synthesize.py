"""The story of a run, told with Prefect: read, profile, choose, split, fit, sample, judge, publish or quarantine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Set before Prefect is imported, and never over what the user has set.
_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The run speaks for itself on the console; Prefect's own lines and tracebacks go to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FLOW_RUNS_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_TASK_RUNS_LEVEL": "CRITICAL",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

from prefect import flow  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from flows import steps  # noqa: E402
from flows.run import Run  # noqa: E402


@flow(name="synthesize", validate_parameters=False)
def synthesize(folder: str, quiet: bool = False) -> State[Mapping[str, Any]]:
    """The walk over a run's folder. The state is Failed when the gate blocks, so that automations hear of it."""
    for stage in (steps.read, steps.profile, steps.choose, steps.split, steps.fit, steps.sample):
        stage(folder, quiet)
    verdict = steps.judge(folder, quiet)
    published = steps.publish(folder, quiet)
    message = f"{verdict['verdict']}: {verdict['reason']}"
    if published["version"] is None:
        return Failed(name=verdict["verdict"].capitalize(), message=message)
    return Completed(name="Published", message=message)


def tell(run: Run, *, quiet: bool) -> dict[str, Any]:
    """Run the flow on the server in use (an embedded one when none is named): {stage: its facts}.

    Raises what a stage raised.
    """
    name = f"{run.folder.parent.name}/{run.id}"
    if not quiet:
        server = os.environ.get("PREFECT_API_URL") or "an embedded server; `prefect server start` shows it afterwards"
        print(f"prefect  flow synthesize, run {name}, told to {server}", file=sys.stderr, flush=True)
    with run.locked():
        state = synthesize.with_options(flow_run_name=name)(str(Path(run.folder)), quiet, return_state=True)
    stages = {name: entry["facts"] for name, entry in run.stages.items() if isinstance(entry, dict)}
    if state.is_failed() and state.name == "Failed":
        state.result()
    return stages
