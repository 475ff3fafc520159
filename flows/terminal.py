"""A flow as a command: the fields of its parameters are the options."""

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
    """Run a flow on the server that is configured, or on one of its own, and show what it did.

    Ends the process: 0 done, 1 something failed, 2 a mistake that the message says how to mend.
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
    """The options of the command line; a wrong one ends the process with a sentence and exit code 2."""
    try:
        return CliApp.run(options, cli_args=args)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"]))
            print(f"error: --{name}: {fault['msg']}, found {fault['input']!r}", file=sys.stderr)
        sys.exit(2)
