"""Retries of tasks, and the message of a failed run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aepipe.errors import Busy, DataUnreadable
from flows.engine import RETRIES, Unfinished, is_transient, pipeline, step

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "fault", [Busy("another process has the lock"), ConnectionResetError(), OSError("stale handle")]
)
def test_transient_errors_are_retried(fault: Exception) -> None:
    assert is_transient(None, None, SimpleNamespace(data=fault))


@pytest.mark.parametrize(
    "fault", [DataUnreadable("page 3"), FileNotFoundError(), PermissionError(), ValueError("a bug")]
)
def test_permanent_errors_are_not_retried(fault: Exception) -> None:
    assert not is_transient(None, None, SimpleNamespace(data=fault))


def attempts(fault: Exception, *, times: int) -> tuple[int, Any]:
    """Run a task that fails `times` times; return the number of starts and the final state of its flow."""
    started = []

    @step
    def work() -> str:
        started.append(1)
        if len(started) <= times:
            raise fault
        return "done"

    @pipeline
    def one_task() -> str:
        return work.with_options(retry_delay_seconds=0)()

    state = one_task(return_state=True)
    return len(started), state


def test_task_succeeds_once_the_lock_is_released(prefect_server: Path) -> None:
    started, state = attempts(Busy("another process has the lock"), times=RETRIES)

    assert started == 1 + RETRIES
    assert state.result() == "done"


def test_user_error_is_not_retried_and_ends_the_run_with_its_message(prefect_server: Path) -> None:
    started, state = attempts(DataUnreadable("part-0.parquet is cut short; write it again"), times=1)

    assert started == 1
    assert state.is_failed()
    assert state.message == "part-0.parquet is cut short; write it again"
    with pytest.raises(DataUnreadable, match="cut short"):
        state.result()


def test_results_are_kept_when_the_rest_fails(prefect_server: Path) -> None:
    @pipeline
    def half() -> str:
        raise Unfinished("1 partition has no new scores", done="the other one")

    state = half(return_state=True)

    assert (state.type.name, state.message) == ("FAILED", "1 partition has no new scores")
    with pytest.raises(Unfinished) as fault:
        state.result()
    assert fault.value.done == "the other one"


def test_a_missing_extra_ends_the_run_with_the_command_that_installs_it() -> None:
    @pipeline
    def trains() -> str:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    state: Any = trains.fn()

    assert state.is_failed()
    assert state.message == (
        "the module torch is not installed: expected the extra 'train'. Run: pip install \"aepipe[train]\"."
    )
