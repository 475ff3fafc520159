"""Scoring of one partition through hand-made graphs: what is written, and when."""

import itertools
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aepipe.batch.partition_scorer import PartitionScoring, partition_key, score_partition
from aepipe.batch.score_settings import ScoreSettings
from aepipe.bundles.bundle import Bundle
from aepipe.errors import Busy
from aepipe.inference.batch_runner import Runner
from aepipe.inference.session import Session, Tensors
from aepipe.inference.table_model import TableModel
from aepipe.storage import SCORE, Outputs, PartitionResult
from tests.support.linear_bundle import make_bundle, numbers, pictures, weights
from tests.support.workspace import NAME, CallbackSlot, Workspace, matrix


def test_scores_equal_numpy_row_by_row(workspace: Workspace) -> None:
    table = numbers(1000, seed=1, first_id=70)

    result = workspace.score(workspace.write(table))

    scores, features, x = workspace.read(), workspace.read("features"), matrix(table)
    assert result.status == "written"
    assert scores["id"].equals(table["id"])
    assert features["id"].equals(table["id"])
    np.testing.assert_allclose(scores["score"], np.abs(x).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose([features["z_000"], features["z_001"]], (x @ weights(3)).T, rtol=1e-5, atol=1e-6)
    order = np.argsort(-np.abs(x), axis=1)
    assert scores["reason_2"].to_pylist() == ["abc"[index] for index in order[:, 1]]
    np.testing.assert_allclose(scores["reason_1_z"], np.abs(x).max(axis=1), rtol=1e-6)


def test_p_values_and_flags_follow_the_calibration(workspace: Workspace) -> None:
    workspace.score(workspace.write(numbers(1000, seed=1)))

    scores, calibration = workspace.read(), np.asarray(workspace.bundle.calibration.scores)
    greater = (calibration[None] >= scores["score"].to_numpy()[:, None]).sum(axis=1)
    counted, found = (1 + greater) / (len(calibration) + 1), scores["p_value"].to_numpy()
    beyond = scores["score"].to_numpy() > calibration.max()
    np.testing.assert_array_equal(scores["p_extrapolated"], beyond)
    np.testing.assert_allclose(found[~beyond], counted[~beyond])
    assert np.all((found[beyond] > 0) & (found[beyond] < 1 / (len(calibration) + 1)))
    assert beyond.any()
    np.testing.assert_array_equal(scores["is_anomaly"], scores["p_value"].to_numpy() <= 0.05)
    assert 0 < scores["is_anomaly"].to_numpy(zero_copy_only=False).sum() < 200


@pytest.mark.parametrize(
    ("batch_rows", "group", "files"), [*itertools.product([7, 2048], [50, 10_000], [1, 3])], ids=str
)
def test_scores_do_not_depend_on_batches_row_groups_or_files(
    workspace: Workspace, batch_rows: int, group: int, files: int
) -> None:
    table = numbers(700, seed=2)
    x = np.abs(matrix(table)).sum(axis=1)
    parts = [table.slice(at, 701 // files + 1) for at in range(0, 700, 701 // files + 1)]

    workspace.score(workspace.write(*parts, group=group), batch_rows=batch_rows)

    assert len(parts) == files
    assert workspace.read()["id"].equals(table["id"])
    np.testing.assert_allclose(workspace.read()["score"], x, rtol=1e-5)


def test_little_memory_gives_small_blocks_and_the_same_scores(tmp_path: Path) -> None:
    table = pictures(200, side=100)
    bundle = make_bundle(tmp_path, table, columns={"scan": {"shape": [1, 100, 100]}})
    workspace = Workspace(tmp_path, bundle)
    seen: list[float] = []
    runner = Runner(lambda: Session(bundle.part("scorer")[0], device="cpu"), batch_rows=2048)
    partition, settings, slot = workspace.write(table), ScoreSettings(workspace.out), CallbackSlot(progress=seen.append)

    score_partition(bundle, partition, settings, runner, workers=10, memory_mb=128, slot=slot)

    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 1
    pixels = np.stack([np.frombuffer(row.as_py(), np.uint8) for row in table["scan"]])
    np.testing.assert_allclose(workspace.read()["score"], pixels.sum(axis=1), rtol=1e-5)


def test_modelled_columns_may_have_names_of_output_columns(tmp_path: Path) -> None:
    table = numbers(50).rename_columns(["id", "score", "p_value", "is_anomaly"])
    bundle = make_bundle(tmp_path, table, data={"keys": ["id"]})
    workspace = Workspace(tmp_path, bundle)

    workspace.score(workspace.write(table))

    expected = np.abs(np.stack([table[name].to_numpy() for name in ("score", "p_value", "is_anomaly")])).sum(axis=0)
    np.testing.assert_allclose(workspace.read()["score"], expected, rtol=1e-5)
    np.testing.assert_allclose(TableModel(bundle).score(table)["score"], expected, rtol=1e-5)


def test_manifest_records_the_run(workspace: Workspace) -> None:
    table = numbers(100, seed=1).append_column("new", pa.array(range(100)))
    partition = workspace.write(table)

    workspace.score(partition)

    manifest = Outputs(workspace.out).manifest(SCORE, NAME)
    assert manifest is not None
    details = manifest.details
    assert manifest.model_version == workspace.bundle.version
    assert {
        key: getattr(details, key) for key in ("rows", "invalid", "unseen", "extra_columns", "provider", "alpha")
    } == {
        "rows": 100,
        "invalid": {},
        "unseen": {},
        "extra_columns": ("new",),
        "provider": "CPUExecutionProvider",
        "alpha": 0.05,
    }
    assert details.alpha_means == "share of normal rows that is flagged"
    assert details.threshold == workspace.bundle.calibration.threshold
    assert details.flagged == workspace.read()["is_anomaly"].to_pylist().count(True)
    assert list(details.inputs) == [str(partition.files[0])]
    assert set(details.seconds) == {"digest", "read", "encode", "infer", "write", "commit"}
    assert all(seconds >= 0 for seconds in details.seconds.values())
    assert details.over_io >= 1
    assert details.rows_per_s == pytest.approx(100 / details.wall_s, rel=0.01)


def test_error_while_scoring_leaves_nothing_behind(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    runner = Runner(lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"), batch_rows=2048)

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_partition(
            workspace.bundle, partition, ScoreSettings(workspace.out), runner, slot=CallbackSlot(progress=interrupt)
        )
    assert not workspace.snapshot()


def test_interrupt_while_digesting_leaves_nothing_behind(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100), numbers(100))
    runner = Runner(lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"), batch_rows=2048)
    answers = iter([None, KeyboardInterrupt()])

    def check() -> None:
        if (error := next(answers)) is not None:
            raise error

    with pytest.raises(KeyboardInterrupt):
        score_partition(
            workspace.bundle, partition, ScoreSettings(workspace.out), runner, slot=CallbackSlot(check=check)
        )
    assert not workspace.snapshot()


def test_helpers_are_done_when_digesting_is_interrupted(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    begun, interrupted, through = threading.Event(), threading.Event(), threading.Event()

    class Slow(Session):
        def run_into(self, tensors: Tensors, out: Tensors) -> None:
            begun.set()
            interrupted.wait(timeout=30)
            time.sleep(0.05)
            super().run_into(tensors, out)
            through.set()

    def join(scoring: PartitionScoring) -> None:
        runner = Runner(lambda: Slow(workspace.bundle.part("scorer")[0], device="cpu"))
        threading.Thread(target=scoring.work_on, args=(runner,)).start()

    def check() -> None:
        begun.wait(timeout=30)
        interrupted.set()
        raise KeyboardInterrupt

    runner = Runner(lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        score_partition(
            workspace.bundle, partition, ScoreSettings(workspace.out), runner, slot=CallbackSlot(open=join, check=check)
        )

    assert through.is_set()
    assert not workspace.snapshot()


def test_new_partition_is_scored_by_other_threads_while_it_is_digested(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    make = partial(Runner, lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"))
    done: list[float] = []

    def join(scoring: PartitionScoring) -> None:
        helper = threading.Thread(target=scoring.work_on, args=(make(),))
        helper.start()
        helpers.append(helper)

    def check() -> None:
        helpers[0].join(timeout=30)
        seen_while_digesting.append(sum(done))

    helpers: list[threading.Thread] = []
    seen_while_digesting: list[float] = []
    settings, slot = ScoreSettings(workspace.out), CallbackSlot(open=join, progress=done.append, check=check)
    result = score_partition(workspace.bundle, partition, settings, make(), workers=2, slot=slot)

    assert seen_while_digesting == [1.0]
    manifest = Outputs(workspace.out).manifest(SCORE, NAME)
    assert manifest is not None
    assert result.model_copy(update={"written": None}) == PartitionResult.of_manifest(
        manifest, workspace.out, result.status
    )
    assert workspace.score(partition).status == "already done"


def test_committed_partition_is_digested_before_it_is_scored(workspace: Workspace) -> None:
    workspace.score(workspace.write(numbers(100)))
    partition = workspace.write(numbers(100, seed=5))
    runner = Runner(lambda: Session(workspace.bundle.part("scorer")[0], device="cpu"))
    order: list[str] = []

    score_partition(
        workspace.bundle,
        partition,
        ScoreSettings(workspace.out),
        runner,
        slot=CallbackSlot(
            open=lambda scoring: order.append("opened"),
            check=lambda: order.append("digested"),
        ),
    )

    assert order == ["digested", "opened"]


def test_scoring_again_writes_nothing(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    workspace.score(partition)
    before = workspace.snapshot()

    result = workspace.score(partition)

    assert result.status == "already done"
    manifest = Outputs(workspace.out).manifest(SCORE, NAME)
    assert manifest is not None
    assert result.model_copy(update={"written": None}) == PartitionResult.of_manifest(
        manifest, workspace.out, result.status
    )
    assert workspace.snapshot() == before


def test_other_rows_are_scored_again(workspace: Workspace) -> None:
    workspace.score(workspace.write(numbers(100)))

    assert workspace.score(workspace.write(numbers(100, seed=5))).status == "written"


def test_disabled_features_are_removed(workspace: Workspace) -> None:
    partition = workspace.write(numbers(100))
    workspace.score(partition)

    result = workspace.score(partition, features=False)

    assert result.status == "written"
    assert result.scores == workspace.out / "scores" / NAME / "part-0.parquet"
    assert result.features is None
    assert not (workspace.out / "features" / NAME / "part-0.parquet").exists()


def test_key_changes_with_everything_the_outputs_depend_on(tmp_path: Path, linear: Bundle) -> None:
    stricter = make_bundle(tmp_path, numbers(500), data={"keys": ["id"]}, alpha=0.01)

    keys = {
        partition_key(linear, ["one", "two"], ScoreSettings(Path("out"), features=True)),
        partition_key(linear, ["two", "one"], ScoreSettings(Path("out"), features=True)),
        partition_key(linear, ["onetwo"], ScoreSettings(Path("out"), features=True)),
        partition_key(linear, ["one", "two"], ScoreSettings(Path("out"), features=False)),
        partition_key(stricter, ["one", "two"], ScoreSettings(Path("out"), features=True)),
    }

    assert len(keys) == 5


def test_locked_partition_is_busy_after_waiting(workspace: Workspace) -> None:
    partition = workspace.write(numbers(10))

    with Outputs(workspace.out).commit(SCORE, NAME, "another"), pytest.raises(Busy, match="is still held by process"):
        workspace.score(partition, wait_s=0.05)
