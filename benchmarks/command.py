"""Shared parts of the benchmarks' command lines: options, selection by name, and worker processes."""

import argparse
import fnmatch
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Protocol, TypeVar

from benchmarks.store import Values

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
RESULTS = Path(__file__).parent / ".results"


_DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


def data_path(variable: str, name: str) -> Path:
    """Return the folder of a benchmark's data: the environment variable, or the default next to the checkout."""
    return Path(os.environ.get(variable, _DATA / name)).resolve()


class Task(Protocol):
    """Task that can be sent to a process."""

    @property
    def title(self) -> str:
        """Return the title for the console."""


T = TypeVar("T", bound=Task)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    made.add_argument("--results", type=Path, default=RESULTS, help="folder of what was measured")
    made.add_argument("--only", nargs="+", metavar="NAME", help="these; * stands for anything")
    made.add_argument("--seeds", type=int, default=3, help="how many, where nothing else is said")
    made.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    made.add_argument("--quick", action="store_true", help="few rows, one seed; the page stays as it is")
    made.add_argument("--fresh", action="store_true", help="measure again what was measured already")
    made.add_argument("--report", action="store_true", help="only make the page of what was measured")
    made.add_argument("--no-page", action="store_true", help="print the tables only")
    made.add_argument("--list", action="store_true", help="names that --only takes")
    return made


def chosen(known: Iterable[str], only: Sequence[str] | None) -> set[str]:
    """Return the names that match the patterns, or all without patterns; exit if a pattern matches none."""
    names = list(known)
    if only is None:
        return set(names)
    nothing = [pattern for pattern in only if not fnmatch.filter(names, pattern)]
    if nothing:
        raise SystemExit(f"nothing is called {', '.join(nothing)}; --list says what there is")
    return {name for pattern in only for name in fnmatch.filter(names, pattern)}


def in_processes(
    perform: Callable[[T], Values], tasks: Sequence[T], note: Callable[[T, Values], object], *, workers: int
) -> int:
    """Run tasks in worker processes, note and print each result, and return the number of failures."""
    if not tasks:
        return 0
    failed = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: dict[Future[Values], T] = {pool.submit(perform, task): task for task in tasks}
        while waiting:
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                failed += not _noted(future, waiting.pop(future), note, left=len(waiting))
    return failed


def _noted(future: Future[Values], task: T, note: Callable[[T, Values], object], *, left: int) -> bool:
    """Hand a result on and say so; False where there is none."""
    error = future.exception()
    if error is not None:
        print(f"{task.title} failed: {type(error).__name__}: {error} ({_place(error)})", flush=True)
        return False
    values = future.result()
    note(task, values)
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"{task.title} ({left} left): {numbers}", flush=True)
    return True


def _place(error: BaseException) -> str:
    """Return the last line of code in the traceback of an error that another process raised."""
    lines = [line.strip() for line in str(error.__cause__ or "").splitlines()]
    return next((line for line in reversed(lines) if line.startswith("File ")), "no traceback")
