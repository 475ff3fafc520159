"""Flows and tasks as they are here: a mistake is a sentence, and only what may pass is tried again."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed

from aepipe.errors import AepipeError, Busy

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 2
RETRY_DELAY_S = 10
LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class Unfinished(Exception):
    """A part of the work failed after the rest was done; `done` is what the run would have answered."""

    def __init__(self, message: str, done: object) -> None:
        self.done = done
        super().__init__(message)


def pipeline(function: Callable[P, R]) -> Flow[P, R]:
    """A flow. A user's mistake ends it Failed, with the sentence that says how to mend it and without a traceback."""

    @wraps(function)
    def mistakes_fail(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (AepipeError, Unfinished) as error:
            return cast(R, Failed(message=str(error), data=error))

    return flow(persist_result=False)(mistakes_fail)


def step(function: Callable[P, R]) -> Task[P, R]:
    """A task: tried again where that can help, and never answered from a cache, because the truth is on disk."""
    return task(
        retries=RETRIES,
        retry_delay_seconds=RETRY_DELAY_S,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(function)


def may_pass(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a fault may pass by itself: another process holds the lock, or the file system did not answer."""
    return isinstance(state.data, Busy | OSError) and not isinstance(state.data, LASTING)


def outcome(state: State[R]) -> R | BaseException:
    """What a finished run answered, or the exception that ended it."""
    return cast("R | BaseException", state.result(raise_on_failure=False))


def run_log() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The log of this run, which Prefect shows on its page."""
    return get_run_logger()
