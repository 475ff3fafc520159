"""Run the command line on a random table and job, and find exits that are neither success nor one sentence."""

import contextlib
import io
import logging
import sys
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aepipe.cli import main
from tests.fuzz.tables import random_options, random_roles, random_tables, write_tables

CODES = (0, 1, 2)


class Ending(NamedTuple):
    """End of one command: exit code, None after an exception, and what it printed to stderr."""

    command: str
    code: int | None
    printed: str

    @property
    def is_defect(self) -> bool:
        """Return whether a user would see a traceback, a bare error number or an unknown exit code."""
        if self.code not in CODES or "Traceback" in self.printed or "[Errno" in self.printed:
            return True
        return self.code == 2 and "error: " not in self.printed and "Usage: " not in self.printed


def run_case(seed: int, folder: Path) -> list[Ending]:
    """Run all commands on the table and job of a seed; a failed `train` ends the case."""
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    (folder / "data").mkdir()
    write_tables(rng, folder / "data", tables)
    job = folder / "job.toml"
    data = str(folder / "data")
    endings = [run_command("init", data, "--job", str(job)), run_command("inspect", data)]
    if rng.random() < 0.75 or not job.exists():
        columns = tables[0].column_names
        roles, options = random_roles(rng, columns), random_options(rng, columns)
        job.write_text(f'name = "fuzz"\n[data]\npath = "data"\n{roles}{options}[run]\nworkers = 1\n')
    endings.append(run_command("train", str(job)))
    if endings[-1].code == 0:
        commands = ("score", "report", "evaluate", "verify", "calibrate")
        endings += [run_command(command, str(job)) for command in commands]
        partition = next((path.name for path in sorted((folder / "data").iterdir())), "")
        endings += [
            run_command("explain", str(job), "--row", f"{partition}:0"),
            run_command("sample", str(job), "--rows", "20"),
            run_command("impute", str(job)),
        ]
    return endings


def run_command(*arguments: str) -> Ending:
    """Run one command in this process, as `aepipe` does."""
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    handler = logging.StreamHandler(err)
    sys.argv = ["aepipe", *arguments]
    logging.getLogger().addHandler(handler)
    code: int | None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            code = main._run()
    except BaseException:
        code = None
        err.write(traceback.format_exc())
    finally:
        sys.argv = argv
        logging.getLogger().removeHandler(handler)
    return Ending(" ".join(arguments[:1]), code, err.getvalue())
