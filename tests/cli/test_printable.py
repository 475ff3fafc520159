"""Names and values from data stay text on the terminal: no control sequence or markup in what commands print."""

import io
import logging
import re
from pathlib import Path

import pytest
from rich.console import Console

import aepipe.cli
from aepipe.cli.console import PrintableFormatter, print_table, print_text, printable
from aepipe.cli.stage_progress import stage_bars
from aepipe.cli.top_output import line_of, table_of
from aepipe.jobs.top import JobState, Overview
from tests.support.payloads import PAYLOADS

CLI = Path(aepipe.cli.__file__).parent
DATA = {"source_commands.py": 1}
"""Documents for other programs, such as a contract in YAML, that are printed as they are."""


def unwrapped(printed: str) -> str:
    return re.sub(r"[\s│┃]", "", printed)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_payload_is_printed_as_text_everywhere(payload: str, capsys: pytest.CaptureFixture[str]) -> None:
    state = JobState(job=Path(payload), name=payload, champion=payload, last=payload, running=(payload,))
    record = logging.LogRecord("a", logging.WARNING, "", 0, "%s is odd", (payload,), None)
    screen = Console(file=io.StringIO(), width=2000)

    print_text(payload)
    print_text(line_of(state))
    print_table(payload, [payload], [[payload]])
    screen.print(table_of(Overview(at="", jobs=(state,))))
    printed = capsys.readouterr().out + screen.file.getvalue() + PrintableFormatter("%(message)s").format(record)

    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    # two lines of text; a table's title, header and cell; three cells of top's table; a log message
    assert unwrapped(printed).count(unwrapped(printable(payload))) >= 9


def test_stages_show_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    with stage_bars() as progress:
        progress("[bold]x[/bold]", 0.5)

    assert "[bold]x[/bold]" in capsys.readouterr().err


def test_commands_print_through_the_functions_that_escape() -> None:
    direct = {path.name: len(re.findall(r"typer\.(?:s?echo|secho)\(", path.read_text())) for path in CLI.glob("*.py")}

    assert {name: count for name, count in direct.items() if count and name != "console.py"} == DATA
