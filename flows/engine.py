"""Flow and task decorators: user errors fail with a message; only transient errors are retried."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from aepipe.errors import AepipeError, Busy
from aepipe.versions import named_extras
from flows.prefect_api import NO_CACHE, Failed, Flow, State, Task, TaskRun, flow, get_run_logger, task

P = ParamSpec("P")
R = TypeVar("R")

PARTIAL = "Partial"
"""Name of the state of a run in which some partitions failed."""
RETRIES = 2
RETRY_DELAY_S = 10
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Unfinished(Exception):
    """Part of the work failed after the rest was done; `done` is the result of the run.

    `is_partial`: some partitions have new scores, others do not.
    """

    def __init__(self, message: str, done: object, *, is_partial: bool = False) -> None:
        self.done = done
        self.is_partial = is_partial
        super().__init__(message)


def pipeline(function: Callable[P, R]) -> Flow[P, R]:
    """Decorate a flow: an AepipeError or Unfinished ends it as Failed, with its message and without a traceback.

    The state of a run in which only some partitions failed has the type FAILED too, and the name Partial.
    """

    @wraps(function)
    def fail_on_error(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with named_extras():
                return function(*args, **kwargs)
        except (AepipeError, Unfinished) as error:
            is_partial = isinstance(error, Unfinished) and error.is_partial
            return cast(R, Failed(message=str(error), data=error, name=PARTIAL if is_partial else "Failed"))

    return flow(persist_result=False)(fail_on_error)


def step(function: Callable[P, R]) -> Task[P, R]:
    """Decorate a task: retry transient errors, never use the cache, because the outputs on disk decide."""
    return task(
        retries=RETRIES,
        retry_delay_seconds=RETRY_DELAY_S,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(function)


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Return True for an error that may go away: another process holds a lock, or the file system failed."""
    return isinstance(state.data, Busy | OSError) and not isinstance(state.data, PERMANENT)


def outcome(state: State[R]) -> R | BaseException:
    """Return the result of a finished run, or the exception that ended it."""
    return cast("R | BaseException", state.result(raise_on_failure=False))


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """Return the log of this run, which Prefect shows on its page."""
    return get_run_logger()
