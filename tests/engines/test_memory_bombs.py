"""Small files that decode to gigabytes: the partition is quarantined or scored, within the memory of the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.bundles.registry import Registry
from tests.support.linear_bundle import make_bundle, numbers

MEMORY_MB = 600
SLACK_MB = 300
MB = 1 << 20

SCORE = """
import json, sys
from pathlib import Path
from aepipe.jobs.score import score
nights = score(sys.argv[1]).nights
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent before exec
peak = int(status.split("VmHWM:")[1].split()[0]) >> 10
print(json.dumps({"peak": peak, "status": [r.status for r in nights], "reason": " ".join(r.reason for r in nights)}))
"""


def keyed(keys: list[str]) -> pa.Table:
    return numbers(len(keys)).set_column(0, "id", pa.array(keys))


def zeros(rows: int) -> pa.Table:
    key = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["k"]).cast(pa.string())
    return pa.table({"id": key, **{name: np.zeros(rows, np.float32) for name in "abc"}})


BOMBS = {
    "a key of 200 MB": (lambda: keyed(["a" * 200 * MB]), {}, "quarantined"),
    "texts of 1 MB in a dictionary": (
        lambda: keyed(["a" * MB] * 1_600),
        {"dictionary_pagesize_limit": 4 * MB},
        "written",
    ),
    "texts that share their beginnings": (
        lambda: keyed(["a" * MB] * 400),
        {"use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY"}},
        "written",
    ),
    "100,000 row groups of one row": (
        lambda: keyed([f"k{row}" for row in range(100_000)]),
        {"row_group_size": 1, "use_dictionary": False, "write_statistics": False},
        "written",
    ),
    "one page of many rows": (
        lambda: zeros(40 * MB),
        {"use_dictionary": False, "data_page_size": 1 << 30, "max_rows_per_page": 1 << 30, "row_group_size": 40 * MB},
        "quarantined",
    ),
}


def peak_of(folder: Path, *bombs: str) -> tuple[list[str], int, str]:
    """Score an ordinary partition and these; return their status, the peak in MB, and the reasons of a quarantine."""
    bundle = make_bundle(folder, keyed([f"k{row}" for row in range(500)]), data={"keys": ["id"]})
    Registry(bundle.path.parent).set_alias("champion", bundle.path.name, who="ada", why="a test")
    job = folder / "job.toml"
    job.write_text(
        'name = "linear"\n[data]\npath = "rows"\nkeys = ["id"]\n[calibration]\nalpha = 0.05\n'
        f'[run]\ndevice = "cpu"\nworkers = 2\nmemory_mb = {MEMORY_MB}\n'
    )
    files = [folder / "rows" / f"dt=2026-03-{day:02d}" / "part-0.parquet" for day in range(1, len(bombs) + 2)]
    for file in files:
        file.parent.mkdir(parents=True)
    pq.write_table(keyed([f"k{row}" for row in range(20_000)]), files[0])
    for file, name in zip(files[1:], bombs, strict=True):
        make, options, _ = BOMBS[name]
        pq.write_table(make(), file, compression="zstd", **options)
    arguments = [sys.executable, "-c", SCORE, str(job)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout)
    return found["status"], found["peak"], found["reason"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_within_the_budget(tmp_path: Path, name: str) -> None:
    status, peak, reason = peak_of(tmp_path, name)

    expected = BOMBS[name][2]
    assert status == ["written", expected]
    assert peak < MEMORY_MB + SLACK_MB
    assert expected == "written" or "does not fit into memory" in reason


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_large_footers_are_in_memory_one_at_a_time(tmp_path: Path) -> None:
    status, peak, _ = peak_of(tmp_path, *["100,000 row groups of one row"] * 2)

    assert status == ["written"] * 3
    assert peak < MEMORY_MB + SLACK_MB
