"""Is a password or a webhook's token in nothing that the Prefect server keeps of a night that failed?"""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.flows.test_synthesize import server

__all__ = ["server"]
SECRET = "hunter2-Tr0ub4dor"


def test_a_night_that_failed_tells_no_secret(server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client

    from flows.nightly import nightly

    monkeypatch.setenv("DB_PASSWORD", SECRET)
    monkeypatch.setenv("TOLD", f"json://127.0.0.1:1/{SECRET}")
    (tmp_path / "p.yaml").write_text(
        "name: p\ntarget: x\nnotify: {addresses: TOLD}\n"
        "data: {use: sql, url: 'postgresql://bob:${DB_PASSWORD}@127.0.0.1:1/db', query: SELECT 1}\n"
    )
    state = nightly(str(tmp_path / "p.yaml"), [], str(tmp_path / "runs"), return_state=True)
    assert state.is_failed()
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(state.state_details.flow_run_id)
        for _ in range(50):
            kept = client._client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [str(run.id)]}}}).json()
            if any("cannot be opened" in each["message"] for each in kept):
                break
            time.sleep(0.2)
    told = json.dumps(kept) + run.model_dump_json()
    assert "cannot be opened" in told and "address 1 of TOLD could not be told" in told
    assert SECRET not in told
