"""Options of `aepipe deploy` that are refused before anything is sent, and failures of the server as one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import OptionInvalid
from flows.deploy import DeployOptions, next_commands
from tests.support.two_models import write_job


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--nightly", "99"], "--nightly: expected a cron schedule such as '30 2 * * *', got '99'"),
        (["--timezone", "Mars/Base"], "--timezone: expected a time zone such as 'Europe/Berlin', got 'Mars/Base'"),
        (["--timezone", ".."], "--timezone: expected a time zone such as 'Europe/Berlin', got '..'"),
        (
            [],
            "the server at http://127.0.0.1:9/api does not answer: Connection refused. Check it with `aepipe doctor`.",
        ),
    ],
)
def test_a_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], fault: str
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")  # nothing listens there

    error = CliRunner().invoke(app, ["deploy", str(write_job(tmp_path)), *words]).exception

    assert isinstance(error, OptionInvalid)
    assert str(error) == f"the deployments were not applied: {fault}"


def test_the_command_that_scores_a_partition_again_keeps_the_options_and_quotes_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "Ada's nights"
    folder.mkdir()
    job = read_job(write_job(folder))

    _, again = next_commands(DeployOptions(job=job.source), job)

    script = (
        f"import json, sys; print(json.loads(sys.argv[-1].removeprefix('options=')) == {{'job': {str(job.source)!r}, "
    )
    script += "'samples': False, 'partitions': ['dt=2026-03-03']})"
    shell = again.replace("prefect deployment run", f"'{sys.executable}' -c \"$SCRIPT\"")
    done = subprocess.run(["bash", "-c", shell], env={"SCRIPT": script}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
