"""`aepipe init` asks questions only at a terminal."""

import os
import pty
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aepipe.cli import init_questions
from aepipe.cli.main import app
from aepipe.config.job import read_job
from aepipe.errors import OptionInvalid
from tests.jobs.test_init import write_days


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of the job file to write; questions can be answered."""
    write_days(tmp_path / "orders")
    monkeypatch.setattr(init_questions, "can_ask", lambda: True)
    return tmp_path / "job.toml"


def answer(job: Path, text: str, *options: str) -> str:
    call = ["init", str(job.parent / "orders"), "--job", str(job), *options]
    result = CliRunner().invoke(app, call, input=text)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_return_takes_what_is_proposed(job: Path) -> None:
    shown = answer(job, "\n" * 5)

    data = read_job(job).data
    assert (data.keys, data.event_time, data.labels, data.entity) == (("order_id",), "at", ("is_fraud",), ())
    assert read_job(job).train.last is None
    assert "proposed as key: order_id, 600 distinct values" in shown
    assert "Last partition to learn from (dt=2026-01-04: 4 of 6) [all]" in shown


def test_the_question_is_repeated_after_a_wrong_name(job: Path) -> None:
    shown = answer(job, "order_id, batsh\norder_id, batch\n-\n-\ncurrency\n2026-01-04\n")

    read = read_job(job)
    assert (read.data.keys, read.data.event_time, read.data.labels) == (("order_id", "batch"), None, ())
    assert (read.data.entity, read.train.last) == (("currency",), "2026-01-04")
    assert "the table has no column 'batsh'; did you mean 'batch'?" in shown


def test_given_options_need_no_question(job: Path) -> None:
    roles = ["--key", "order_id", "--event-time", "at", "--label", "", "--entity", "currency"]

    shown = answer(job, "", *roles, "--train-to", "2026-01")

    assert "Columns" not in shown
    assert read_job(job).data.labels == ()
    assert read_job(job).data.entity == ("currency",)


@pytest.mark.parametrize("quiet", ["--yes", "--json"])
def test_yes_and_json_ask_nothing(job: Path, quiet: str) -> None:
    assert "Return takes" not in answer(job, "", quiet)
    assert read_job(job).data.keys == ("order_id",)


def test_without_an_answer_nothing_is_written(job: Path) -> None:
    with pytest.raises(OptionInvalid, match=r"nothing is written\. Add --yes to take what is proposed\."):
        answer(job, "")

    assert not job.exists()


def test_an_existing_job_is_replaced_only_after_a_yes(job: Path) -> None:
    job.write_text('name = "mine"\n')

    with pytest.raises(Exception, match="already exists"):
        answer(job, "n\n")
    assert job.read_text() == 'name = "mine"\n'

    answer(job, "y\n" + "\n" * 5)
    assert read_job(job).name == "orders"


@pytest.mark.slow
def test_questions_are_asked_at_a_terminal(tmp_path: Path) -> None:
    write_days(tmp_path / "orders")
    ours, theirs = pty.openpty()
    call = [sys.executable, "-c", "from aepipe.cli.main import main; main()", "init", "orders"]
    process = subprocess.Popen(call, cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    os.write(ours, b"\n" * 5)
    shown, limit = b"", threading.Timer(120, process.kill)
    limit.start()
    with suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 4_096):
            shown += part
    code = process.wait(timeout=120)
    limit.cancel()
    os.close(ours)

    assert code == 0, shown
    assert "Columns that identify a row [order_id]" in shown.decode()
    assert read_job(tmp_path / "job.toml").data.keys == ("order_id",)
