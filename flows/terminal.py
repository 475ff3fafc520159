"""Run a flow as a command whose options are the fields of its parameters."""

import sys
from collections.abc import Callable
from typing import TypeVar, cast

from prefect import Flow
from pydantic import ValidationError
from pydantic_settings import CliApp

from aepipe.errors import AepipeError
from flows.engine import Unfinished, outcome
from flows.options import Options

OptionsT = TypeVar("OptionsT", bound=Options)
R = TypeVar("R")


def run(pipeline: Flow[[OptionsT], R], options: type[OptionsT], show: Callable[[R], None]) -> None:
    """Run a flow on the configured server, or on a temporary one, and show its result.

    Ends the process with exit code 1 if part of the work failed, 2 for an error that the user can fix.
    """
    answer = outcome(pipeline(parse(options), return_state=True))
    if not isinstance(answer, BaseException):
        show(answer)
        return
    if isinstance(answer, Unfinished):
        show(cast(R, answer.done))
    print(f"error: {answer}", file=sys.stderr)
    sys.exit(2 if isinstance(answer, AepipeError) else 1)


def parse(options: type[OptionsT], args: list[str] | None = None) -> OptionsT:
    """Parse the command line; a wrong option ends the process with a message and exit code 2."""
    try:
        return CliApp.run(options, cli_args=args)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            print(f"error: --{name}: {fault['msg']}, got {fault['input']!r}", file=sys.stderr)
        sys.exit(2)
