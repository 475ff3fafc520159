"""Damage of every kind to outputs, manifests, aliases, calibrations and bundles is found by `verify`."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from aepipe.bundles.registry import Registry
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.verify import verify
from aepipe.storage import HIDDEN
from tests.faults.commands import NIGHT, edit
from tests.faults.sizes import record, size
from tests.support.linear_bundle import make_bundle, numbers

pytestmark = pytest.mark.slow

MUTANTS = size("DAMAGE", 200)
IGNORED = {".lock", ".html", ".ndjson"}
"""Locks, pages and events of lineage hold nothing that a run depends on."""


def flip(path: Path, rng: random.Random, root: Path) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    path.write_bytes(data)


def zero(path: Path, rng: random.Random, root: Path) -> None:
    data = bytearray(path.read_bytes())
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.choice([1, 16, 512, 4096]))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def truncate(path: Path, rng: random.Random, root: Path) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))


def swap(path: Path, rng: random.Random, root: Path) -> None:
    """Swap a file with another of the same suffix."""
    others = [other for other in damageable(root) if other.suffix == path.suffix and other != path]
    if not others:
        return
    other = rng.choice(others)
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


def drop(path: Path, rng: random.Random, root: Path) -> None:
    if path.suffix != ".last":  # without it, only missing last lines of a log are not found
        path.unlink()


def remove_line(path: Path, rng: random.Random, root: Path) -> None:
    """Remove or repeat a line of a log."""
    if path.suffix != ".jsonl":
        return
    lines = path.read_bytes().splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at : at + 1] = [] if rng.random() < 0.5 else [lines[at]] * 2
    path.write_bytes(b"".join(lines))


def add(path: Path, rng: random.Random, root: Path) -> None:
    """Copy a file to another name in its folder that readers of the folder include."""
    if HIDDEN not in path.parts and path.suffix not in {".jsonl", ".last"}:
        shutil.copy(path, path.with_name(f"extra-{rng.randrange(9)}{path.suffix}"))


DAMAGES: tuple[Callable[[Path, random.Random, Path], None], ...] = (
    flip,
    zero,
    truncate,
    swap,
    drop,
    remove_line,
    add,
)


def make_state(root: Path) -> Path:
    """Score, calibrate and sample with a bundle of the present version that has two aliases."""
    root.mkdir()
    for day in (1, 2, 3):
        folder = root / "table" / f"dt=2026-01-0{day}"
        folder.mkdir(parents=True)
        pq.write_table(numbers(40, seed=day, first_id=100 * day), folder / "part-0.parquet")
    bundle = make_bundle(root, numbers(200), data={"keys": ["id"]})
    job = root / "job.toml"
    job.write_text(
        'name = "linear"\n[data]\npath = "table"\nkeys = ["id"]\n[calibration]\nalpha = 0.05\n'
        '[output]\npath = "out"\n[samples]\nrows = 20\nquality = { check = false }\n[run]\nworkers = 1\n'
    )
    for alias in ("champion", "trusted"):
        Registry(bundle.path.parent).set_alias(alias, bundle.path.name, who="me", why="trained")
    score(job)
    sample(job, partition=NIGHT)
    for alpha in ("0.1", "0.2"):
        edit(job, job.read_text().split("alpha = ")[1].split("\n")[0], alpha)
        calibrate(job)
    score(job)
    return job


def damageable(root: Path) -> list[Path]:
    files = [path for folder in ("out", "exported") for path in (root / folder).rglob("*") if path.is_file()]
    return sorted(
        path for path in files if path.suffix not in IGNORED and path.name != "job.json" and path.stat().st_size
    )


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in damageable(root)}


def meaning(path: str, data: bytes) -> object:
    """Return the content of a manifest, which may be in any form of JSON, and the bytes of other files."""
    if "/manifests/" not in path:
        return data
    try:
        return json.loads(data)
    except ValueError:
        return data


def test_every_damage_is_found_by_verify_in_one_line_each(tmp_path: Path) -> None:
    root = tmp_path / "state"
    job = make_state(root)
    assert verify(job).faults == ()
    intact = content(root)
    names, rng = sorted(intact), random.Random(3)
    missed, counts = [], dict.fromkeys((damage.__name__ for damage in DAMAGES), 0)

    for number in range(MUTANTS):
        name, damage = names[number % len(names)], rng.choice(DAMAGES)
        damage(root / name, rng, root)
        changed = content(root)
        if changed.keys() != intact.keys() or any(meaning(p, changed[p]) != meaning(p, intact[p]) for p in intact):
            counts[damage.__name__] += 1
            faults = verify(job).faults
            if not faults:
                missed.append(f"{damage.__name__} {name}")
            assert all(fault.isprintable() for fault in faults), faults
        for path in changed.keys() - intact.keys():
            (root / path).unlink()
        for path, data in intact.items():
            if changed.get(path) != data:
                (root / path).write_bytes(data)

    assert not missed, "\n".join(sorted(missed))
    record("damage", mutants=sum(counts.values()), missed=0, **counts)
