"""Tasks that are not partitions: order, workers that stay, and workers that die."""

import os
import signal
from pathlib import Path

import pytest

from aepipe.batch.score_settings import MachineSettings
from aepipe.engines.tasks import TaskWorkers


def process_of(request: int) -> tuple[int, int]:
    return request, os.getpid()


def die_once(folder: str) -> str:
    """Return the folder; end this process the first time."""
    mark = Path(folder, "died")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return folder


def die(_: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def fail(request: int) -> int:
    raise KeyError(request)


def ignore(_: int) -> None:
    """Take a number of answers."""


def test_tasks_of_the_local_engine_run_in_this_process() -> None:
    counts: list[int] = []

    with TaskWorkers("local", MachineSettings()) as workers:
        found = workers.run(process_of, [3, 4], done=counts.append)

    assert found == [(3, os.getpid()), (4, os.getpid())]
    assert counts == [1, 2]


@pytest.mark.slow
def test_processes_stay_for_later_tasks() -> None:
    with TaskWorkers("processes", MachineSettings(workers=1)) as workers:
        rounds = [workers.run(process_of, range(3), done=ignore) for _ in range(2)]

    assert [[found[0] for found in answers if found is not None] for answers in rounds] == [[0, 1, 2]] * 2
    processes = {found[1] for answers in rounds for found in answers if found is not None}
    assert len(processes) == 1
    assert os.getpid() not in processes


@pytest.mark.slow
def test_a_task_whose_process_dies_runs_again_and_gives_up_at_the_second_death(tmp_path: Path) -> None:
    with TaskWorkers("processes", MachineSettings(workers=1)) as workers:
        assert workers.run(die_once, [str(tmp_path)], done=ignore) == [str(tmp_path)]
        assert workers.run(die, ["a"], done=ignore) == [None]
        assert len(workers.run(process_of, [1], done=ignore)) == 1


@pytest.mark.slow
def test_an_error_of_a_task_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError), TaskWorkers("processes", MachineSettings(workers=1)) as workers:
        workers.run(fail, [1], done=ignore)


@pytest.mark.slow
def test_workers_of_a_cluster_stay_for_later_tasks() -> None:
    ray = pytest.importorskip("ray")

    with TaskWorkers("ray", MachineSettings(workers=1)) as workers:
        for _ in range(2):
            assert [found[0] for found in workers.run(process_of, [1, 2], done=ignore) if found] == [1, 2]
            assert ray.is_initialized()
    assert not ray.is_initialized()
