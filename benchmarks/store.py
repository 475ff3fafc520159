"""Results as JSON lines, one per run of an experiment, so that an interrupted benchmark can continue."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from aepipe import versions as installed

Values = Mapping[str, float]

PACKAGES = (
    "aepipe",
    "torch",
    "onnxruntime-gpu",
    "onnxruntime",
    "numpy",
    "scikit-learn",
    "pythae",
    "pyod",
    "ctgan",
    "mostlyai-engine",
    "pandas",
    "pyarrow",
    "ray",
)


class Result(NamedTuple):
    """One experiment with one seed."""

    experiment: str
    seed: int
    key: str
    """digest of the configuration: another one is another result"""
    values: Values
    date: str
    machine: str
    versions: Mapping[str, str]


def key_of(configuration: Mapping[str, object]) -> str:
    """Return the first 16 digits of the sha256 of a configuration.

    >>> key_of({"a": 1, "b": (2,)}) == key_of({"b": [2], "a": 1})
    True
    """
    text = json.dumps(configuration, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Store:
    """Results of one benchmark in `<name>.jsonl` of a folder. The last line of a key counts. One process writes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.path = folder / f"{name}.jsonl"

    def read(self) -> dict[str, Result]:
        """Read results by `key/seed`; skip a line that a crash cut short."""
        return {f"{result.key}/{result.seed}": result for result in self._lines()}

    def add(self, experiment: str, seed: int, key: str, values: Values) -> Result:
        """Note a result down, for good."""
        result = Result(
            experiment, seed, key, dict(values), datetime.now(UTC).date().isoformat(), machine(), versions()
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result._asdict()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return result

    def _lines(self) -> Iterator[Result]:
        if not self.path.exists():
            return
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                yield Result(**json.loads(line))
            except (json.JSONDecodeError, TypeError):
                continue


def machine() -> str:
    """Return the number of cores and the processor's name, without anything that identifies the machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return f"{os.cpu_count()} cores, {name}"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the measured packages."""
    return {"python": platform.python_version(), **installed.versions(PACKAGES)}
