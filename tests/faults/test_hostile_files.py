"""Every field of the JSON files and the job that a run reads, replaced by junk: one sentence, never a traceback."""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aepipe.config.job import parse_job
from aepipe.errors import AepipeError, JobInvalid
from aepipe.jobs.calibrate import calibrate
from aepipe.jobs.doctor import doctor
from aepipe.jobs.drift.monitor import measure_drift
from aepipe.jobs.forget import forget
from aepipe.jobs.sample.sample import sample
from aepipe.jobs.score import score
from aepipe.jobs.top import overview
from aepipe.jobs.verify import verify
from aepipe.storage import Outputs
from tests.bundles.fuzz import JUNK, mutate_json, places
from tests.faults.commands import FIXTURE, NIGHT
from tests.faults.sizes import record, size
from tests.faults.test_damage import make_state

pytestmark = pytest.mark.slow

MUTANTS = size("HOSTILE", 40)
NOTE = "dt=2026-01-02"


def documents(root: Path) -> Iterator[Path]:
    for folder in ("out", "exported"):
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in {".json", ".jsonl"})


def mutated(path: Path, rng: np.random.Generator) -> bytes:
    """Return the file with one field changed; in a log, of one line."""
    lines = path.read_bytes().splitlines(keepends=True) if path.suffix == ".jsonl" else [path.read_bytes()]
    at = int(rng.integers(len(lines)))
    lines[at] = json.dumps(mutate_json(json.loads(lines[at]), rng), separators=(",", ":")).encode() + b"\n"
    return b"".join(lines)


def test_no_field_of_a_file_that_runs_read_gives_a_traceback(tmp_path: Path) -> None:
    root = tmp_path / "state"
    job = make_state(root)
    outputs = Outputs(root / "out")
    forget(job, ["dt=2026-01-01"], is_confirmed=True)
    outputs.quarantine(NOTE, "by hand", [root / "table" / NOTE / "part-0.parquet"])
    runs: tuple[Callable[[], object], ...] = (
        lambda: verify(job),
        lambda: score(job),
        lambda: score(job, partitions=[NOTE], force=True),
        lambda: sample(job, partition=NIGHT),
        lambda: calibrate(job),
        lambda: doctor(job),
        lambda: overview([job]),
        lambda: measure_drift(job),
        lambda: forget(job, [NOTE]),
        outputs.quarantined,
    )
    intact = {path: path.read_bytes() for path in documents(root)}
    rng, unexpected = np.random.default_rng(4), []

    for number in range(MUTANTS):
        path = list(intact)[number % len(intact)]
        path.write_bytes(mutated(path, rng))
        for run in runs:
            try:
                run()
            except AepipeError as error:
                assert str(error)
            except Exception as error:  # the user would see a traceback
                unexpected.append(f"{path.relative_to(root)}: {type(error).__name__} {error}")
        for each, data in intact.items():
            each.parent.mkdir(parents=True, exist_ok=True)
            each.write_bytes(data)

    assert not unexpected, "\n".join(sorted(set(unexpected)))
    record("fuzzed files of outputs and bundles", mutants=MUTANTS, commands=len(runs), tracebacks=0)


def test_no_value_of_a_job_gives_a_traceback() -> None:
    document = tomllib.loads((FIXTURE / "tabular.toml").read_text())
    document["columns"] = {"amount": {"kind": "number"}, "kind": "category"}
    document["evaluate"] = {"anomaly": "kind = 'a'"}
    document["run"] = {"workers": 2, "device": "cpu"}
    refused = tried = 0

    for path in places(document):
        for junk in JUNK:
            changed: dict[str, Any] = json.loads(json.dumps(document))
            owner: Any = changed
            for key in path[:-1]:
                owner = owner[key]
            owner[path[-1]] = junk
            tried += 1
            try:
                parse_job(changed, source=Path("job.toml"))
            except JobInvalid as error:
                refused += 1
                assert all(fault.strip() for fault in error.faults)

    assert refused > tried / 2
    record("fuzzed jobs", mutants=tried, refused=refused, tracebacks=0)
