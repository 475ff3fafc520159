"""Adaptive flags along partitions: state in the manifests, event order, late partitions."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aepipe.batch.score_settings import MachineSettings, ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.calibration.adaptive import Adaptive, State
from aepipe.engines.local import run
from aepipe.storage import SCORE, Manifest, Outputs, ScoreDetails, StreamDetails
from aepipe.tables.partitions import Partition
from tests.support.linear_bundle import numbers

NIGHTS = tuple(f"dt=2026-01-{day:02d}" for day in (2, 3, 9, 10))


class Mill:
    """Partitions whose rows grow larger over time, and their scores."""

    def __init__(self, folder: Path, bundle: Bundle) -> None:
        self.folder, self.bundle, self.outputs = folder, bundle, Outputs(folder / "out")
        for at, name in enumerate(NIGHTS):
            self.write(name, numbers(300, seed=10 + at), factor=1 + at)

    def write(self, name: str, table: pa.Table, *, factor: float = 1.0) -> None:
        path = self.folder / name / "part-0.parquet"
        path.parent.mkdir(exist_ok=True)
        scaled = {column: table[column].to_numpy() * np.float32(factor) for column in "abc"}
        pq.write_table(pa.table({"id": table["id"], **scaled}), path, row_group_size=70)

    def score(self, names: Sequence[str] = NIGHTS, *, adaptive: bool = True, workers: int = 1) -> list[str]:
        partitions = [Partition(name, (self.folder / name / "part-0.parquet",)) for name in names]
        settings = ScoreSettings(self.outputs.root, adaptive=adaptive)
        machine = MachineSettings(workers=workers, device="cpu")
        return [result.status for result in run(self.bundle, partitions, settings, machine)]

    def read(self, name: str, column: str) -> np.ndarray:
        path = self.outputs.path("scores", name)
        return np.asarray(pq.ParquetFile(path).read()[column].to_numpy(zero_copy_only=False))

    def manifest(self, name: str) -> Manifest[ScoreDetails]:
        found = self.outputs.manifest(SCORE, name)
        assert found is not None
        return found

    def stream(self, name: str) -> StreamDetails:
        stream = self.manifest(name).details.stream
        assert stream is not None
        return stream

    def flags(self, names: Sequence[str] = NIGHTS) -> np.ndarray:
        return np.concatenate([self.read(name, "is_anomaly") for name in names])


@pytest.fixture
def mill(tmp_path: Path, linear: Bundle) -> Mill:
    return Mill(tmp_path, linear)


def test_partitions_are_flagged_as_one_stream_and_keep_score_and_p_value(mill: Mill) -> None:
    mill.score(adaptive=False)
    fixed = {column: [mill.read(name, column) for name in NIGHTS] for column in ("score", "p_value", "is_anomaly")}

    mill.score()

    calibration = mill.bundle.calibration
    adaptive_flags = Adaptive(calibration.alpha, State.of(calibration))
    np.testing.assert_array_equal(mill.flags(), adaptive_flags.flags(np.concatenate(fixed["score"])))
    for column in ("score", "p_value"):
        np.testing.assert_array_equal([mill.read(name, column) for name in NIGHTS], fixed[column])
    assert mill.flags().mean() < 0.1 < np.mean(fixed["is_anomaly"])
    last = mill.manifest(NIGHTS[-1]).details
    assert last.stream == StreamDetails(
        after=NIGHTS[-2], alpha=adaptive_flags.state.alpha, scores=adaptive_flags.state.scores
    )
    assert last.flagged == mill.read(NIGHTS[-1], "is_anomaly").sum()
    assert mill.stream(NIGHTS[0]).after is None


def test_adaptive_flags_do_not_depend_on_workers(mill: Mill, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Mill(tmp_path_factory.mktemp("other"), mill.bundle)

    mill.score()
    other.score(workers=3)

    np.testing.assert_array_equal(mill.flags(), other.flags())


def test_late_partition_continues_the_stream_and_rewrites_no_later_one(mill: Mill) -> None:
    first, late, third, last = NIGHTS
    mill.score([first, third])
    before = (mill.manifest(third), mill.outputs.path("scores", third).stat().st_mtime_ns)

    statuses = mill.score(NIGHTS)

    assert statuses == ["already done", "written", "already done", "written"]
    assert (mill.manifest(third), mill.outputs.path("scores", third).stat().st_mtime_ns) == before
    assert mill.stream(third).after == first
    assert mill.stream(late).after == first
    assert mill.stream(last).after == third


def test_switching_adaptive_on_or_off_scores_again(mill: Mill) -> None:
    assert mill.score() == ["written"] * 4
    assert mill.score() == ["already done"] * 4
    assert mill.score(adaptive=False) == ["written"] * 4
    assert mill.manifest(NIGHTS[0]).details.stream is None


def test_another_calibration_starts_another_stream(mill: Mill) -> None:
    mill.score(NIGHTS[:2])
    mill.bundle = dataclasses.replace(mill.bundle, calibration=mill.bundle.calibration.with_alpha(0.1))

    mill.score(NIGHTS[2:])

    assert mill.stream(NIGHTS[2]).after is None


def test_invalid_rows_are_not_flagged_and_not_in_the_stream(mill: Mill) -> None:
    table = numbers(300, seed=10)
    b = table["b"].to_numpy().copy()
    b[[3, 250]] = np.inf
    mill.write(NIGHTS[0], table.set_column(2, "b", pa.array(b)))

    mill.score(NIGHTS[:1])

    calibration = mill.bundle.calibration
    adaptive_flags = Adaptive(calibration.alpha, State.of(calibration))
    scores = mill.read(NIGHTS[0], "score")
    assert np.flatnonzero(np.isnan(scores)).tolist() == [3, 250]
    np.testing.assert_array_equal(mill.flags(NIGHTS[:1]), adaptive_flags.flags(scores))
    assert mill.stream(NIGHTS[0]).scores == adaptive_flags.state.scores
