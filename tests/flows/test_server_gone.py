"""Does a run end though nobody answers at the address of its Prefect server?"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from data.errors import DataError
from tests.flows.test_walk import TINY_GAN, start


@pytest.fixture
def nobody() -> str:
    """An address that is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/api"


def test_a_dead_server_is_done_without(plan_file: Path, nobody: str, capsys: pytest.CaptureFixture[str]) -> None:
    from prefect.settings import PREFECT_CLIENT_MAX_RETRIES

    from flows.synthesize import PREFECT_API_URL, tell, temporary_settings

    with temporary_settings({PREFECT_API_URL: nobody, PREFECT_CLIENT_MAX_RETRIES: 0}):
        facts = tell(start(plan_file, *TINY_GAN), quiet=True)
    assert facts["publish"]["version"] == "v000001"
    assert capsys.readouterr().err == (
        f"counterpoise: the Prefect server at {nobody} does not answer any more; the run goes on without telling it\n"
    )


def test_a_users_fault_stays_one_though_the_server_is_dead(plan_file: Path, nobody: str) -> None:
    from flows.synthesize import PREFECT_API_URL, tell, temporary_settings

    run = start(plan_file)
    (plan_file.parent / "mixed.csv").write_text("")
    with temporary_settings({PREFECT_API_URL: nobody}), pytest.raises(DataError, match=r"mixed\.csv"):
        tell(run, quiet=True)
