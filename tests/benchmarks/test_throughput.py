"""The throughput benchmark: all contenders do the same work, and goals are compared with the results."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.jobs.score import score
from aepipe.storage import read_parquet
from benchmarks import device, throughput_protection
from benchmarks.store import Result
from benchmarks.throughput_contenders import CONTENDERS, OURS
from benchmarks.throughput_costs import COSTS
from benchmarks.throughput_floors import FLOORS
from benchmarks.throughput_report import Ran, goals, medians, section
from benchmarks.throughput_tables import KINDS, LAYOUTS, PARTS, Night, ready

ROWS = 4_000


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    made = Night(KINDS["mixed"], PARTS, ROWS, tmp_path_factory.mktemp("throughput"))
    ready(made)
    return made


def _columns(night: Night, names: list[str], where: str) -> dict[str, np.ndarray]:
    files = [path for path in sorted(night.out.glob(where)) if ".aepipe" not in path.parts]
    tables = [pq.ParquetFile(path).read(names) for path in files]
    ids = np.concatenate([table.column("id").to_numpy() for table in tables])
    order = np.argsort(ids)
    return {name: np.concatenate([table.column(name).to_numpy() for table in tables])[order] for name in names}


@pytest.mark.slow
def test_a_script_with_pandas_writes_what_aepipe_writes(night: Night) -> None:
    names = ["id", "score", "p_value", "reason_1_z"]
    CONTENDERS[OURS](night)()
    ours = _columns(night, names, "scores/*/*.parquet")

    CONTENDERS["pandas + onnxruntime"](night)()
    theirs = _columns(night, names, "scores-*.parquet")

    np.testing.assert_array_equal(ours["id"], theirs["id"])
    np.testing.assert_allclose(ours["score"], theirs["score"], rtol=1e-4)
    np.testing.assert_allclose(ours["reason_1_z"], theirs["reason_1_z"], rtol=1e-3, atol=1e-3)
    inside = ours["p_value"] > 0.01  # below, ours goes on along the tail
    np.testing.assert_allclose(ours["p_value"][inside], theirs["p_value"][inside], rtol=0.05)


def test_whoever_scores_has_loaded_nothing_that_it_does_not_need() -> None:
    code = "import sys, benchmarks.throughput_run; print({'torch', 'pandas', 'onnx', 'ray', 'pyod'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_additions_are_measured_on_the_nights_own_files(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput_protection, "_ROUNDS", 1)

    found = COSTS["costs"](night)()

    assert found is not None
    assert found["digests of inputs_s"] > 0
    assert found["p-values_s"] > 0
    assert found[throughput_protection.WITH] > 0
    assert found[throughput_protection.WITHOUT] > 0


@pytest.mark.slow
def test_scoring_without_checks_gives_the_same_scores_and_no_digests(night: Night) -> None:
    def scored() -> tuple[pa.Table, str]:
        shutil.rmtree(night.out, ignore_errors=True)
        result = score(night.job_path).nights[0]
        return read_parquet(result.scores), next(iter(result.details.inputs.values()))

    protected, digest = scored()
    with throughput_protection.unprotected():
        bare, none = scored()
    again, same = scored()

    assert protected.equals(bare)
    assert protected.equals(again)
    assert digest == same != none


@pytest.mark.slow
def test_a_device_is_measured_alone(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_SECONDS", 0.01)

    assert device.scored(night, "cpu") > 1_000
    assert device.learned(1_000, "cpu") > 1_000
    found = [device.Figure("rows", 2e6, 1e6), device.Figure("share", 0.5, 0.9)]
    assert "| rows | 2,000,000 | 1,000,000 | yes |" in device.section(found, "cpu")
    assert "| share | 0.50 | 0.90 | **no** |" in device.section(found, "cpu")


def _results(**wall_s: float) -> list[Result]:
    numbers = KINDS["numbers"]
    return [
        Result(
            Ran("numbers", LAYOUTS[0], numbers.rows, who).experiment,
            round_,
            "key",
            {"wall_s": seconds * (1 + round_), "cpu_s": seconds, "peak_mb": 500.0},
            "2026-11-22",
            "2 cores, some processor",
            {},
        )
        for who, seconds in wall_s.items()
        for round_ in range(3)
    ]


def test_goals_are_held_against_medians() -> None:
    seconds = {**dict.fromkeys(FLOORS, 1.0), OURS: 2.0, "pandas + torch": 5.0}

    found = medians(_results(**seconds))
    of_night = {who: found[Ran("numbers", LAYOUTS[0], KINDS["numbers"].rows, who).experiment] for who in seconds}
    met = {goal.title: (goal.value, goal.is_met) for goal in goals(of_night)}

    assert of_night[OURS]["wall_s"] == 4.0
    assert met["wall seconds of pandas + torch over ours"] == (2.5, False)
    assert met["peak memory, MB"] == (500.0, True)
    assert "**no**" in section(_results(**seconds))


def test_of_a_night_that_aepipe_did_not_score_nothing_is_said(tmp_path: Path) -> None:
    assert "###" not in section(_results(read=1.0, infer=1.0))
