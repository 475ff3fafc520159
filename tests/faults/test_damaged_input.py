"""Damaged source files are quarantined or scored as if they were intact; none ends the process or hangs it."""

import random
from pathlib import Path

import pytest

from aepipe.storage import Outputs
from tests.faults.interposed import Interposed
from tests.faults.nights import make_job, parquet, rows, scored, write_digests
from tests.faults.sizes import record, size

pytestmark = pytest.mark.slow

MUTANTS = size("INPUTS", 150)
GOOD = "intact"


def footer_of(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def damaged(data: bytes, rng: random.Random, begin: int, end: int) -> bytes:
    """Flip a bit, zero some bytes or cut the file, between two positions."""
    changed = bytearray(data)
    at = rng.randrange(begin, end)
    match rng.randrange(4):
        case 0:
            changed[at : at + 16] = bytes(len(changed[at : at + 16]))
        case 1 if end == len(data):
            del changed[at:]
        case _:
            changed[at] ^= 1 << rng.randrange(8)
    return bytes(changed)


def mutants(part: str) -> dict[str, bytes]:
    good = parquet(rows())
    rng = random.Random(part)
    begin, end = {"pages": (4, footer_of(good)), "footer": (footer_of(good), len(good)), "file": (0, len(good))}[part]
    found = {f"{number:04d}": damaged(good, rng, begin, end) for number in range(MUTANTS)}
    return {GOOD: good, **{name: data for name, data in found.items() if data != good}}


def endings(interposed: Interposed, root: Path, files: dict[str, bytes]) -> dict[str, str]:
    """Score all partitions; return for each whether it is quarantined, scored as the intact one, or otherwise."""
    ended = interposed.run(root, "score", str(root / "job.toml"))
    assert ended.status in (0, 1), ended.said[-2_000:]
    assert "Traceback" not in ended.said
    aside, intact = Outputs(root / "out").quarantined(), scored(root, GOOD)
    assert intact is not None
    found = {}
    for name in files:
        if f"dt={name}" in aside:
            assert aside[f"dt={name}"].isprintable()
            found[name] = "quarantined"
        else:
            table = scored(root, name)
            found[name] = "equal" if table is not None and table.equals(intact) else "other"
    return found


def test_damaged_pages_with_checksums_are_never_scored_silently(interposed: Interposed, root: Path) -> None:
    files = mutants("pages")
    make_job(root, files)

    found = list(endings(interposed, root, files).values())

    assert found.count("other") == 0
    assert found.count("quarantined") > len(files) / 2
    record("damaged pages", mutants=len(files) - 1, quarantined=found.count("quarantined"), silently_wrong=0)


def test_damaged_files_with_known_digests_are_all_quarantined(interposed: Interposed, root: Path) -> None:
    files = mutants("file")
    make_job(root, files, options='digests = "sums.txt"\n')
    write_digests(root, dict.fromkeys(files, files[GOOD]))

    found = endings(interposed, root, files)

    assert found.pop(GOOD) == "equal"
    assert set(found.values()) == {"quarantined"}
    record("damaged files with known digests", mutants=len(found), quarantined=len(found), silently_wrong=0)


def test_damaged_footers_end_no_process(interposed: Interposed, root: Path) -> None:
    files = mutants("footer")
    make_job(root, files)

    found = list(endings(interposed, root, files).values())

    assert found.count("quarantined") > len(files) / 4
    record(
        "damaged footers", mutants=len(files) - 1, quarantined=found.count("quarantined"), other=found.count("other")
    )
