"""Does a night whose process is gone give its place free, so that the next one runs?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.cut_off import SAID, let_go
from flows.schedule import Night, deployment
from tests.flows.test_synthesize import server

# isort: split
from prefect.client.orchestration import get_client
from prefect.states import Pending, Running

__all__ = ["server"]


@pytest.mark.usefixtures("server")
def test_a_night_that_counts_as_running_is_let_go_and_others_are_not(plan_file: Path) -> None:
    made = deployment(plan_file, Night("0 3 * * *", "UTC"))
    identity = made.apply()
    with get_client(sync_client=True) as client:
        runs = [client.create_flow_run_from_deployment(identity) for _ in range(2)]
        for state in (Pending(), Running()):
            assert client.set_flow_run_state(runs[0].id, state).status.value == "ACCEPT"
        held = client.read_deployment(identity).global_concurrency_limit
        assert held is not None and held.active_slots == 1
        # Another night is left out meanwhile.
        client.set_flow_run_state(runs[1].id, Pending())
        assert client.read_flow_run(runs[1].id).state_name == "Cancelled"
        assert let_go(["another"]) == []
        assert let_go(["mixed"]) == ["mixed"] and let_go(["mixed"]) == []
        after = client.read_flow_run(runs[0].id)
        assert after.state is not None and after.state.is_crashed() and after.state.message == SAID
        limit = client.read_deployment(identity).global_concurrency_limit
        assert limit is not None and limit.active_slots == 0
        third = client.create_flow_run_from_deployment(identity)
        assert client.set_flow_run_state(third.id, Pending()).status.value == "ACCEPT"
        client.delete_deployment(identity)


def test_leases_outlive_a_server_that_is_killed() -> None:
    import flows.synthesize  # noqa: F401  it sets what the server is told

    assert os.environ["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith("filesystem")
    assert float(os.environ["PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION"]) <= 60
