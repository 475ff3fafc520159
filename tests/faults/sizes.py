"""Length of the fault suite: a short gate by default, a long one by environment variables (`make faults`)."""

import json
import os
import random
from collections.abc import Hashable, Sequence
from pathlib import Path


def size(name: str, short: int) -> int:
    """Return a number of cases, reads or states: `FAULTS_<NAME>` of the environment, or that of the short gate."""
    return int(os.environ.get(f"FAULTS_{name}", short))


def chosen(sites: Sequence[Hashable], most: int, seed: int) -> list[int]:
    """Return the numbers, from 1, of at most `most` operations in order: one of each site, then others at random.

    >>> chosen("abc", 5, seed=0), chosen("aaab" + "a" * 9, 2, seed=0)[-1] >= 4
    ([1, 2, 3], True)
    """
    rng = random.Random(seed)
    numbers = list(range(1, len(sites) + 1))
    rng.shuffle(numbers)
    first_of = {sites[number - 1]: number for number in numbers}
    firsts = set(first_of.values())
    ordered = [*first_of.values(), *(number for number in numbers if number not in firsts)]
    return sorted(ordered[:most])


def record(what: str, **figures: object) -> None:
    """Append figures to the file `FAULTS_FIGURES` of the environment, for docs/reliability.md."""
    path = os.environ.get("FAULTS_FIGURES")
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps({"what": what, **figures}) + "\n")
