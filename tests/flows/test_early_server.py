"""A temporary server that is started early is the one that the flows run on; no second one is started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.early_server import server_starting

ROOT = Path(__file__).parents[2]
CODE = """
import flows
from flows.early_server import server_starting
from prefect import flow
from prefect.server.api.server import SubprocessASGIServer

with server_starting():
    pass
early = SubprocessASGIServer().server_process.pid

@flow
def noted():
    return SubprocessASGIServer().server_process.pid

print(early == noted())
"""


@pytest.mark.slow
def test_flows_run_on_the_server_that_was_started_early(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    env = kept | {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=False, timeout=300
    )

    assert done.stdout.splitlines()[-1:] == ["True"], done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_no_server_is_started_if_the_settings_name_one() -> None:
    from prefect.server.api.server import SubprocessASGIServer

    before = dict(SubprocessASGIServer._instances)

    with server_starting():
        pass

    assert dict(SubprocessASGIServer._instances) == before
