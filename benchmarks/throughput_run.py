"""One contender scores one night in a process of its own: python -m benchmarks.throughput_run, JSON on the last line.

Imports, models and what is chosen beforehand (the best batch size of a peer's) are not timed; reading, scoring and
writing are. Work of other processes, Ray's, is counted by what the machine was busy with.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks.throughput_contenders import CONTENDERS, RAY
from benchmarks.throughput_costs import COSTS
from benchmarks.throughput_floors import FLOORS
from benchmarks.throughput_tables import KINDS, Night

_TICKS = os.sysconf("SC_CLK_TCK")
_KB_A_MB = 1 << 10


def run(name: str, night: Night) -> dict[str, float]:
    """Return wall_s and cpu_s of the work, peak_mb of the process, and further figures of a contender."""
    work = {**CONTENDERS, **FLOORS, **COSTS}[name](night)
    shutil.rmtree(night.out, ignore_errors=True)
    os.sync()
    busy, cpu, began = _busy_s(), time.process_time(), time.perf_counter()
    said = work()
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    if name == RAY:
        cpu_s = _busy_s() - busy
    return {"wall_s": wall_s, "cpu_s": cpu_s, "peak_mb": _peak_mb(), **(said or {})}


def _busy_s() -> float:
    """Return the seconds for which the machine's cores have been busy since it started."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return (sum(values) - values[3] - values[4] - values[7]) / _TICKS


def _peak_mb() -> float:
    """Return the peak memory of this process alone; that of getrusage starts with the parent's memory."""
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / _KB_A_MB


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender")
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("layout")
    parser.add_argument("rows", type=int)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    found = run(asked.contender, Night(KINDS[asked.kind], asked.layout, asked.rows, asked.folder))
    sys.stdout.flush()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
