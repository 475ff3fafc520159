"""How long the fault suite runs: a short gate by default, the long one from environment variables (`make faults`)."""

import json
import os
import random
from pathlib import Path


def size(name: str, short: int) -> int:
    """Return a number of cases, reads or states: `FAULTS_<NAME>` of the environment, or that of the short gate."""
    return int(os.environ.get(f"FAULTS_{name}", short))


def chosen(steps: int, most: int, seed: int) -> list[int]:
    """Return the numbers 1 to `steps`, or a random choice of `most` of them in order.

    >>> chosen(3, 5, seed=0), len(chosen(100, 5, seed=0))
    ([1, 2, 3], 5)
    """
    if steps <= most:
        return list(range(1, steps + 1))
    return sorted(random.Random(seed).sample(range(1, steps + 1), most))


def record(what: str, **figures: object) -> None:
    """Append figures to the file `FAULTS_FIGURES` of the environment, for docs/reliability.md."""
    path = os.environ.get("FAULTS_FIGURES")
    if path:
        with Path(path).open("a") as file:
            file.write(json.dumps({"what": what, **figures}) + "\n")
