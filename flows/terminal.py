"""Run a flow as a command whose options are the fields of its parameters."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar, cast

from pydantic import ValidationError

from aepipe.cli.console import printable
from aepipe.cli.interrupts import Interrupted, raise_on_signals
from aepipe.errors import AepipeError
from flows.engine import Unfinished, outcome
from flows.options import Options
from flows.prefect_api import CliApp, Flow, TerminationSignal

OptionsT = TypeVar("OptionsT", bound=Options)
R = TypeVar("R")


def run(pipeline: Flow[[OptionsT], R], options: type[OptionsT], show: Callable[[R], None]) -> None:
    """Run a flow on the configured server, or on a temporary one, and show its result.

    Ends the process with exit code 1 if part of the work failed, 2 for an error that the user can fix, 130 after Ctrl-C
    and 143 after SIGTERM.
    """
    asked = parse(options)
    raise_on_signals()
    try:
        answer = outcome(pipeline(asked, return_state=True))
    except (Interrupted, KeyboardInterrupt, TerminationSignal) as error:
        _end_interrupted(error)
    if isinstance(answer, Interrupted | KeyboardInterrupt | TerminationSignal):
        _end_interrupted(answer)
    if not isinstance(answer, BaseException):
        show(answer)
        return
    if isinstance(answer, Unfinished):
        show(cast(R, answer.done))
    print(f"error: {printable(str(answer))}", file=sys.stderr)
    sys.exit(2 if isinstance(answer, AepipeError) else 1)


def _end_interrupted(error: BaseException) -> NoReturn:
    """End the process with one line and the exit code of the signal."""
    if isinstance(error, Interrupted):
        number = error.number
    else:
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
    notes = getattr(error, "__notes__", ["complete outputs are kept."])
    print(" ".join(["stopped:", *notes]), file=sys.stderr)
    sys.exit(128 + number)


def parse(options: type[OptionsT], args: list[str] | None = None) -> OptionsT:
    """Parse the command line; a wrong option ends the process with a message and exit code 2.

    Words of an option are joined by dashes or by underscores, as in the parameters of a deployment.
    """
    words = [_with_dashes(word) for word in (sys.argv[1:] if args is None else args)]
    try:
        return CliApp.run(options, cli_args=words)
    except ValidationError as error:
        for fault in error.errors():
            name = ".".join(map(str, fault["loc"])).replace("_", "-")
            print(f"error: --{name}: {fault['msg']}, got {fault['input']!r}", file=sys.stderr)
        sys.exit(2)


def _with_dashes(word: str) -> str:
    """Write the name of an option with dashes.

    >>> _with_dashes("--at_once=2"), _with_dashes("a_value")
    ('--at-once=2', 'a_value')
    """
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word
