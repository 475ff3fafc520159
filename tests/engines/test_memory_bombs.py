"""Small files that decode to gigabytes: the partition is quarantined or scored, within the memory of the run."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.linear_bundle import make_bundle, numbers

MEMORY_MB = 600
SLACK_MB = 300
LARGE_MB = {"100,000 row groups of one row": 1_200}
"""Larger budgets: Arrow holds 400 MB per open file for the footer of 100,000 row groups, which no setting bounds."""
MB = 1 << 20

SCORE = """
import json, sys
from pathlib import Path
from aepipe.bundles.bundle import Bundle
from aepipe.engines.local import MachineSettings, ScoreSettings, run
from aepipe.tables.partitions import Partition
folder, bundle, memory_mb = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
partitions = [Partition("good", (folder / "good.parquet",)), Partition("bomb", (folder / "bomb.parquet",))]
machine = MachineSettings(device="cpu", workers=2, memory_mb=memory_mb)
results = run(Bundle.open(bundle), partitions, ScoreSettings(folder / "out"), machine)
status = Path("/proc/self/status").read_text()  # ru_maxrss would count the parent before exec
peak = int(status.split("VmHWM:")[1].split()[0]) >> 10
print(json.dumps({"peak": peak, "status": [r.status for r in results], "reason": results[1].reason}))
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_within_the_budget(tmp_path: Path, name: str) -> None:
    make, options, status = BOMBS[name]
    memory_mb = LARGE_MB.get(name, MEMORY_MB)
    bundle = make_bundle(tmp_path, keyed([f"k{row}" for row in range(500)]), data={"keys": ["id"]})
    pq.write_table(keyed([f"k{row}" for row in range(20_000)]), tmp_path / "good.parquet")
    pq.write_table(make(), tmp_path / "bomb.parquet", compression="zstd", **options)

    arguments = [sys.executable, "-c", SCORE, str(tmp_path), str(bundle.path), str(memory_mb)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)

    found = json.loads(done.stdout)
    assert found["status"] == ["written", status]
    assert found["peak"] < memory_mb + SLACK_MB
    assert status == "written" or "does not fit into memory" in found["reason"]
