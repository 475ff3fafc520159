"""Read the outputs until asked to stop, then print what was seen: a process run by test_readers.

Arguments: the folder of the outputs, and a file whose presence ends the reading.
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def fault(path: Path) -> str | None:
    try:
        # opened once: read_table(path) opens it twice, and may join the footer of one file and the pages of the next
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        return f"{path}: {error}"
    generations = table["generation"].unique().to_pylist()
    if len(generations) != 1 or table.num_rows != 500 + generations[0]:
        return f"{path}: {table.num_rows} rows of {generations}"
    seen.add(generations[0])
    return None


seen: set[int] = set()


def main(out: Path, stop: Path) -> None:
    reads, faults = 0, []
    while not stop.exists():
        for path in sorted(out.glob("*/dt=1/part-0.parquet")):
            reads += 1
            if (found := fault(path)) is not None:
                faults.append(found)
        if reads == 2:
            print("reading", flush=True)
    print(json.dumps({"reads": reads, "generations": len(seen), "faults": faults}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
