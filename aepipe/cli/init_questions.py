"""Questions of `aepipe init` on a terminal: Return takes what is proposed, - means none."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import typer

from aepipe.cli.console import print_text, printable
from aepipe.errors import ArgumentInvalid, OptionInvalid
from aepipe.jobs.init_choice import Choice, Draft

Answer = TypeVar("Answer")

NONE = "-"
_ALL = "all"


def can_ask() -> bool:
    """Return whether a person sits at a terminal and can answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def may_replace(job: Path) -> bool:
    """Ask whether an existing job file may be replaced."""
    return _answered(lambda: typer.confirm(printable(f"{job} exists. Replace it?"), default=False))


def ask_roles(draft: Draft, given: Choice) -> Choice:
    """Ask for what was not given as an option; ask again after a name that the table does not have."""
    for proposal in draft.proposals:
        if proposal.role != "ignore":
            print_text(f"proposed as {proposal.role.replace('_', ' ')}: {proposal.column}, {proposal.why}")
    print_text(f"Return takes what stands in brackets, {NONE} means none, names are separated by commas.")
    choice = given

    def ask(question: str, default: Sequence[str], use: Callable[[tuple[str, ...]], Choice]) -> Choice:
        while True:
            text = _answered(lambda: typer.prompt(question, default=", ".join(default) or NONE))
            names = () if text.strip() == NONE else tuple(filter(None, (name.strip() for name in text.split(","))))
            try:
                draft.check(found := use(names))
            except ArgumentInvalid as error:
                print_text("; ".join(error.faults))
            else:
                return found

    if given.keys is None:
        question = "Columns that identify a row"
        choice = ask(question, draft.proposed("key"), lambda names: choice._replace(keys=names))
    if given.event_time is None:
        question = "Column with the time of a row"
        choice = ask(question, draft.proposed("event_time"), lambda names: choice._replace(event_time=", ".join(names)))
    if given.labels is None:
        question = "Columns with the truth, for evaluation only"
        choice = ask(question, draft.proposed("label"), lambda names: choice._replace(labels=names))
    if given.entity is None:
        question = "Columns that name what a row is about, such as a device"
        choice = ask(question, (), lambda names: choice._replace(entity=names))
    if given.train_to is None and draft.split is not None:
        last, count, of = draft.split
        question = f"Last partition to learn from ({last}: {count} of {of})"
        choice = ask(question, [_ALL], lambda names: choice._replace(train_to=_partition(names)))
    return choice


def _partition(names: Sequence[str]) -> str | None:
    text = ", ".join(names)
    return None if text in ("", _ALL) else text


def _answered(ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except typer.Abort:
        raise OptionInvalid(
            "there was no answer, and nothing is written. Add --yes to take what is proposed."
        ) from None
