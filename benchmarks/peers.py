"""Peers of synthetic rows that have environments of their own, since their licences or versions exclude ours."""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq


class Peer(NamedTuple):
    """A maker that runs as a process: the variable that names its Python, its module and its package."""

    variable: str
    module: str
    package: str


PEERS = {
    "TVAE": Peer("AEPIPE_SDV_PYTHON", "ctgan", "ctgan"),
    "TabularARGN": Peer("AEPIPE_MOSTLYAI_PYTHON", "mostlyai", "mostlyai-engine"),
    "PAR": Peer("AEPIPE_SDV_PYTHON", "sdv", "sdv"),
}


class Drawn(NamedTuple):
    """Rows of each request, and CPU seconds of the fit and of each request."""

    rows: tuple[pa.Table, ...]
    fit_cpu_s: float
    cpu_s: tuple[float, ...]


def python_of(name: str) -> str | None:
    """Return the Python that has a peer: the one that its variable names, or this one; None if neither has it."""
    peer = PEERS[name]
    if os.environ.get(peer.variable):
        return os.environ[peer.variable]
    return sys.executable if importlib.util.find_spec(peer.module) is not None else None


def missing(name: str) -> str:
    """Return the sentence that a peer is left out."""
    peer = PEERS[name]
    return f"{name} is left out: install {peer.package}, and let {peer.variable} name the Python that has it"


def draw_rows(name: str, train: pa.Table, rows: Sequence[int], *, seed: int, **settings: object) -> Drawn:
    """Fit a peer to training rows in its own process, on one thread, and draw these numbers of rows.

    Raises:
        SystemExit: The peer is not installed, or it failed; its last lines are shown.
    """
    python = python_of(name)
    if python is None:
        raise SystemExit(missing(name))
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        pq.write_table(train, folder / "train.parquet")
        (folder / "asked.json").write_text(json.dumps({"rows": list(rows), "seed": seed, **settings}))
        script = Path(__file__).with_name("peer_script.py")
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
        command = [python, "-W", "ignore", str(script), name, name_of_folder]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed in {python}:\n{done.stderr[-2_000:]}")
        fit_cpu_s, *cpu_s = json.loads((folder / "costs.json").read_text())
        tables = tuple(pq.read_table(folder / f"rows-{at}.parquet") for at in range(len(rows)))
    return Drawn(tables, fit_cpu_s, tuple(cpu_s))
